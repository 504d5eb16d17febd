"""Replay: records of earlier trainings that are taught again, so that they are not forgotten."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence

from olvido.errors import InputError, ParameterName, require_seed
from olvido.tasks import Example
from olvido.training.records import ids_of, only
from olvido.training.traces.base import Trace

_BYTES = 8
"""Of a coin: a share is met to 2 to the power of -64."""


def replayed(
    trace: Trace, earlier: Sequence[Example], *, share: float, seed: int = 0
) -> Sequence[Example]:
    """The records of earlier trainings to teach again, beside new ones (experience replay).

    Rolnick et al. 2019 (arXiv 1811.11682), with a fixed memory. What is drawn belongs among the
    records of the next training: then its trace says so, and whoever was replayed is found, and
    forgotten, in both.

    Args:
        trace: of the model that is trained further.
        earlier: at least the records that it holds. Those that it forgot are not drawn.
        share: of them to draw, above 0 and at most 1; each has its own coin, see `drawn`.
        seed: of the coins. The same seed draws the same records each time, so that few people are
            in many trainings.

    Raises:
        InputError: a share that is none, a record that the model holds and `earlier` does not, or
            nothing was drawn.
    """
    held = frozenset(trace.present)
    if missing := sorted(held.difference(ids_of(earlier))):
        raise InputError(
            f"{len(missing)} records that the model holds are missing from those to draw from "
            f"(first: {missing[0]!r}): give all records of its trainings"
        )
    chosen = drawn(held, share=share, seed=seed)
    if not chosen:
        raise InputError(
            f"of {len(held)} records none was drawn at a share of {share:g}: give a larger share ",
            *("(", ParameterName("replay"), ")"),
        )
    return only(earlier, chosen)


def drawn(ids: Iterable[str], *, share: float, seed: int) -> Collection[str]:
    """Those of these ids whose coin, which depends on nothing but seed and id, falls below a share.

    A draw of a fixed number would let another record in when a drawn one leaves; these coins move
    nobody, so that what remains is what would have been drawn without the one who left.

    >>> few = drawn(map(str, range(1000)), share=0.05, seed=0)
    >>> 30 < len(few) < 70 and drawn(few, share=0.05, seed=0) == few
    True

    Raises:
        InputError: the share is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise InputError(f"the share to replay must lie above 0 and be at most 1, got {share}")
    require_seed(seed)
    below = share * 2 ** (8 * _BYTES)

    def coin(name: str) -> int:
        said = f"{seed}|replay|{name}".encode()
        return int.from_bytes(hashlib.blake2b(said, digest_size=_BYTES).digest())

    return frozenset(name for name in ids if coin(name) < below)
