"""What each record pulls on the weights, and how the loss curves around them."""

from olvido.curvature.conjugate import conjugate_gradients, gauss_newton
from olvido.curvature.ekfac import Block, Ekfac, fit_ekfac
from olvido.curvature.factor_store import find_ekfac, shelf_at, shelve_ekfac
from olvido.curvature.fisher import diagonal_fisher
from olvido.curvature.gradients import Gradients, PerRecord, drawn_targets
from olvido.curvature.influence import influences, products, query_gradients

__all__ = [
    "Block",
    "Ekfac",
    "Gradients",
    "PerRecord",
    "conjugate_gradients",
    "diagonal_fisher",
    "drawn_targets",
    "find_ekfac",
    "fit_ekfac",
    "gauss_newton",
    "influences",
    "products",
    "query_gradients",
    "shelf_at",
    "shelve_ekfac",
]
