"""The limits of each guarantee: what an answered request does not prove.

Certificates carry these sentences and are refused with others: a change of a sentence needs a new
version of the certificate's format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

from olvido.errors import InputError
from olvido.ledger.facts import DECLARED, Guarantee
from olvido.schemas.certificate import SENTENCE

LONGEST = timedelta(days=3660)
"""Ten years: no request is answered later than that, and nothing expires later after its answer."""


def sayable(item: str, text: str) -> None:
    """Refuse a reason that cannot be written into the certificate of an item.

    Raises:
        InputError: it is too long, has several lines, or invalid characters.
    """
    if re.fullmatch(SENTENCE, text) is None or any("\ud800" <= c <= "\udfff" for c in text):
        raise InputError(
            f"expected of {item} one line of text of at most 1,000 characters, which its "
            f"certificate repeats, got {len(text)} characters in {len(text.splitlines())} lines: "
            "say it shorter"
        )


_EVERYWHERE = (
    "anything about copies of data or earlier models elsewhere, or in forms that are not read",
    "that the issuer measured what it says: invented numbers, records or references that were left "
    "out, and who is meant by a reason cannot be seen from a certificate alone",
)

LIMITS: Mapping[Guarantee, tuple[str, ...]] = {
    Guarantee.EXACT: (
        "that this machine did what the log says: check it with 'olvido verify-exact'",
        "that the weights the training began with never knew the records",
        "that what was fixed beforehand was chosen without them: tokenizer, classes, recipe",
        *_EVERYWHERE,
    ),
    Guarantee.CERTIFIED: (
        "that anything was taken out of the weights: they are as they were trained",
        "that the training ran as written: each unit clipped once, its noise secret",
        "anything about other models, what the training began with, and records that do not name "
        "the person",
        "that the weights equal those of a model that never learned the records",
        *_EVERYWHERE,
    ),
    Guarantee.EMPIRICAL: (
        "that no other question could bring the records back: only these audits were made",
        "that the weights equal those of a model that never learned the records",
        *_EVERYWHERE,
    ),
    Guarantee.SUPPRESSED: (
        "that anything was forgotten: the weights still hold it, and only answers are held back",
        *_EVERYWHERE,
    ),
    Guarantee.DESTROYED: (
        "that no other model learned the same records",
        *_EVERYWHERE,
    ),
}
"""The sentences of what is not proven, for each guarantee."""

DECLARED_LIMIT = (
    "that the model learned what was declared, and no more: nobody witnessed its training"
)
"""The further sentence for a model whose training is declared."""


def limits_of(guarantee: Guarantee, training: str) -> tuple[str, ...]:
    """What is not proven of a forgetting, by its guarantee and by what is known of the training.

    Args:
        guarantee: of the forgetting.
        training: `witnessed` or `declared`.
    """
    further = (DECLARED_LIMIT,) if training == DECLARED else ()
    return (*further, *LIMITS[guarantee])
