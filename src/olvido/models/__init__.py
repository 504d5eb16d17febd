"""Where models come from, how they are named, and the digest of their weights."""

from olvido.models.base import MODELS, Loaded, load, save
from olvido.models.digest import weights_digest

__all__ = ["MODELS", "Loaded", "load", "save", "weights_digest"]
