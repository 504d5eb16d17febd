"""What each record pulls on the weights, and how the loss curves around them."""

from olvido.curvature.fisher import diagonal_fisher
from olvido.curvature.gradients import Gradients, PerRecord

__all__ = ["Gradients", "PerRecord", "diagonal_fisher"]
