"""What both ways of sending have in common: few tries, and who is on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 10.0
"""Seconds that a connection may take."""
PAUSES = (1.0, 4.0)
"""Seconds between tries; after the last there is none."""
_HERE = ("localhost", "127.0.0.1", "::1")


class Failed(Exception):
    """Not everybody got it.

    Args:
        why: in a few words, without addresses, texts or secrets.
        passing: whether another try may go better.
        partly: whether somebody got it all the same, so that no other try is made.
    """

    def __init__(self, why: str, *, passing: bool, partly: bool = False) -> None:
        super().__init__(why)
        self.passing, self.partly = passing, partly


def is_here(host: str | None) -> bool:
    """Whether a host is this machine, to which nothing needs to be enciphered."""
    return host in _HERE


def tried(deliver: Callable[[], None], sleep: Callable[[float], None] = time.sleep) -> None:
    """Deliver, and try again a little later where that may help. Raises Failed after the last."""
    for pause in (*PAUSES, None):
        try:
            deliver()
            return
        except Failed as error:
            if pause is None or not error.passing:
                raise
            sleep(pause)
