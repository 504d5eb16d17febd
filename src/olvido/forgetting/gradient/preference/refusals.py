"""Ways to say that one does not know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from olvido.forgetting.gradient.preference.base import answered, drawn
from olvido.tasks import Example

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
