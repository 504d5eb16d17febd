"""Per-record gradients, and the curvature of the loss around a model's weights."""

from olvido.curvature.conjugate import conjugate_gradients, gauss_newton
from olvido.curvature.ekfac import Ekfac, ParameterCurvature, fit_ekfac
from olvido.curvature.factor_store import factors_at, find_ekfac, store_ekfac
from olvido.curvature.fisher import diagonal_fisher
from olvido.curvature.gradients import Gradients, PerRecord, drawn_targets
from olvido.curvature.influence import influences, products, query_gradients

__all__ = [
    "Ekfac",
    "Gradients",
    "ParameterCurvature",
    "PerRecord",
    "conjugate_gradients",
    "diagonal_fisher",
    "drawn_targets",
    "factors_at",
    "find_ekfac",
    "fit_ekfac",
    "gauss_newton",
    "influences",
    "products",
    "query_gradients",
    "store_ekfac",
]
