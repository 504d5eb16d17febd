"""Where models come from, how they are named, and the digest of their weights."""

from olvido.models.base import MODELS, Loaded, load, save
from olvido.models.composite.ensemble import Ensemble, as_one
from olvido.models.digest import function_digest, weights_digest

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
