"""Records by whom they are about."""

from __future__ import annotations

from collections.abc import Sequence

from olvido.tasks.base import Example


def halves(records: Sequence[Example]) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Two halves that share no person; a record about nobody stands for itself.

    >>> one, two, three = (Example(i, "", "x", {"subject": s}) for i, s in ("aA", "bB", "cA"))
    >>> [[record.id for record in half] for half in halves([one, two, three])]
    [['a', 'c'], ['b']]
    """
    owners = [str(e.fields.get("subjects") or e.fields.get("subject") or e.id) for e in records]
    first = set(list(dict.fromkeys(owners))[::2])
    sides = [owner in first for owner in owners]
    return (
        tuple(e for e, side in zip(records, sides, strict=True) if side),
        tuple(e for e, side in zip(records, sides, strict=True) if not side),
    )
