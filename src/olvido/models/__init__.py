"""Models: how they are loaded and named, and the digest of their weights."""

from olvido.models.base import MODELS, Loaded, load, save
from olvido.models.digest import function_digest, weights_digest
from olvido.models.ensemble import Ensemble, as_one

__all__ = [
    "MODELS",
    "Ensemble",
    "Loaded",
    "as_one",
    "function_digest",
    "load",
    "save",
    "weights_digest",
]
