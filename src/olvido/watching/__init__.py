"""Watch a training that another trainer runs, and enter what it makes."""

from olvido.watching.callback import OlvidoCallback as OlvidoCallback

__all__ = ["OlvidoCallback"]
