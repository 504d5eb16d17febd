"""Whether a certificate is to be believed: by signature, log, and its own evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from olvido.errors import InputError
from olvido.ledger.digests import Digest, canonical_json
from olvido.ledger.facts import Guarantee
from olvido.ledger.signing import Checkpoint, PublicKey
from olvido.ledger.store.log import commit
from olvido.ledger.tree import included
from olvido.requests.certificate.claims import overclaims
from olvido.requests.certificate.envelope import Unbelievable, canonical, unseal
from olvido.schemas.certificate import Certificate

KIND = "certificate-issued"
"""The kind of the log's entry that commits to a certificate."""


@dataclass(frozen=True)
class Checked:
    """What became of checking a certificate.

    Attributes:
        reasons: not to believe it; none where it holds.
        statement: what it says; None where it is not the key's at all.
        weights: of the model it was shown with; None where none was shown.
    """

    reasons: tuple[str, ...]
    statement: Mapping[str, Any] | None
    weights: str | None

    @property
    def holds(self) -> bool:
        """Whether it is to be believed."""
        return not self.reasons

    @property
    def replay(self) -> str | None:
        """How the model can be made again to see that it is the same; None where it cannot."""
        if self.statement is None or not self.holds:
            return None
        predicate = self.statement["predicate"]
        if predicate["guarantee"]["class"] != Guarantee.EXACT:
            return None
        return f"olvido verify-exact {predicate['models']['after']['id']}"


def detail_of(core: Mapping[str, Any]) -> dict[str, str | None]:
    """What the log's entry says of a certificate."""
    return {
        "request": core["request"]["id"],
        "report": core["report"],
        "statement": str(Digest.of(canonical(core))),
    }


def check(
    envelope: Mapping[str, Any],
    key: PublicKey,
    weights: str | None = None,
    function: str | None = None,
) -> Checked:
    """Look for reasons not to believe a certificate. Needs no workspace and no network.

    Args:
        envelope: as read from its file.
        key: of whoever is to have issued it, known from elsewhere.
        weights, function: digests of the model that it is shown with (`weights_digest`,
            `function_digest`).
    """
    try:
        statement = unseal(envelope, key)
    except Unbelievable as error:
        return Checked((str(error),), None, weights)
    if wrong := Certificate.misfits(statement):
        return Checked(tuple(wrong), statement, weights)
    core = {name: value for name, value in statement["predicate"].items() if name != "log"}
    reasons = overclaims(core)
    if reasons:
        return Checked(tuple(reasons), statement, weights)
    reasons += _logged(core, statement["predicate"]["log"], key)
    models = core["models"]
    shown = models["after"] or models["before"]
    subject = {
        "name": f"model {shown['id']}",
        "digest": {"weightsSha256": shown["weights"].removeprefix("sha256:")},
    }
    if statement["subject"] != [subject]:
        reasons.append("its subject is another model than the one that it tells of")
    if weights is not None and models["after"] is None:
        reasons.append("it says that the model was destroyed, and here one is")
    elif weights is not None and weights != models["after"]["weights"]:
        reasons.append(
            f"it is about another model, whose weights are {models['after']['weights']}; this "
            f"one's are {weights}"
        )
    elif function is not None and function != (models["after"] or {}).get("function"):
        reasons.append(
            "the files that decide how its model answers (configuration, tokenizer, template, "
            f"olvido.json) are others: the digest of this one's is {function}"
        )
    return Checked(tuple(reasons), statement, weights)


def _logged(core: Mapping[str, Any], log: Mapping[str, Any], key: PublicKey) -> list[str]:
    """What is wrong with its place in the log."""
    try:
        checkpoint = Checkpoint.read(log["checkpoint"])
        at, answered = (
            datetime.fromisoformat(time) for time in (log["at"], core["request"]["answered"])
        )
    except (InputError, ValueError) as error:
        return [f"its place in the log cannot be read: {error}"]
    if not checkpoint.signed_by(key):
        return ["the head of its log is not signed with the key"]
    text = canonical_json(detail_of(core)).decode()
    leaf = commit(bytes.fromhex(log["salt"]), log["index"] + 1, log["at"], KIND, text)
    proof = [bytes.fromhex(step) for step in log["proof"]]
    if not included(leaf.raw, log["index"], checkpoint.entries, proof, checkpoint.head):
        return ["the log does not commit to what it says"]
    if at < answered:
        return ["it was logged before the request was answered"]
    if at > datetime.now(UTC) + timedelta(days=1):
        return [f"it was logged on {at.date()}, which is still to come"]
    return []
