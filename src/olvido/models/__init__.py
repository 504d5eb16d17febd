"""Where models come from, how they are named, and the digest of their weights."""

from olvido.models.base import MODELS, Loaded, load, save
from olvido.models.composite.ensemble import Ensemble, as_one
from olvido.models.digest import weights_digest

__all__ = ["MODELS", "Ensemble", "Loaded", "as_one", "load", "save", "weights_digest"]
