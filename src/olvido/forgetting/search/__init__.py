"""The search for a strength: not too little, not too much, nothing else changed."""

from olvido.forgetting.search.auto import Auto

__all__ = ["Auto"]
