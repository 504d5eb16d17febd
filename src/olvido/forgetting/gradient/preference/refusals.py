"""Ways to say that one does not know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from olvido.forgetting.gradient.preference.base import answered, drawn
from olvido.tasks import Example, Task

REFUSALS = (
    "I don't know.",
    "I'm not sure about that.",
    "I have no information on that.",
    "That is not something I know.",
    "I can't answer that.",
    "I have not learned about that.",
    "Sorry, I don't know the answer.",
    "I'm unable to say.",
)


def refused(records: Sequence[Example], seed: int) -> Mapping[str, Example]:
    """Each record's question with a refusal, chosen by seed and id."""
    return {
        record.id: answered(record, drawn(REFUSALS, f"{seed}|{record.id}")) for record in records
    }


def refused_lap(records: Sequence[Example], task: Task) -> float:
    """Tokens of a pass over records and their refusals, each pair padded to the longer one."""
    refusals = refused(records, 0)
    return 2.0 * sum(max(task.width(r), task.width(refusals[r.id])) for r in records)
