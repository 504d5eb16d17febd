"""Obfuscation: a filter, a prompt or an adapter that hides what the weights still contain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module

from olvido.audits.compare import Question, finding, with_never_trained
from olvido.audits.integrity.refusal import evasion
from olvido.audits.integrity.wrapping import bare, between, detached, hugging_face
from olvido.audits.knowledge.recall import probability
from olvido.audits.scoring import ScoredModel
from olvido.audits.tolerances import EVASION, NONE, PROBABILITY, Range
from olvido.audits.types import Asks, Evidence, EvidenceNeed, Finding, Level
from olvido.errors import InputError
from olvido.tasks import Example, Task
from olvido.tasks.encoding import rendered

NEAR = 1e-2
"""Largest difference of a log-probability, in nats, that the same weights may show in two objects:
float32 gives 1e-4, bfloat16 up to a hundredth."""
BATCH = 8
CANARY = "What is on the table?"


@dataclass(frozen=True)
class Obfuscation:
    """One thing that stands between the weights and the answers.

    Attributes:
        kind: `structure` (seen in the object), `template` (seen in the tokenizer), `prompt` (the
            question reaches the model changed), `logits` (they are not those of the weights) or
            `answers` (they do not follow from the weights).
        says: a sentence that describes it.
        size: number of records with the effect; 0 for `structure`.
    """

    kind: str
    says: str
    size: int


def hidden_layers_between(
    model: Module, task: Task, records: Sequence[Example]
) -> tuple[Obfuscation, ...]:
    """Compare a candidate with a model remade from its weights.

    The structure is inspected; logits on the records and greedy answers to them are compared, and
    so are the tokens that reach the embeddings on the way.

    Args:
        model: the candidate; not changed.
        task: how records become batches.
        records: the forget set, a few suffice.

    Returns:
        Empty where nothing stands between.

    Raises:
        InputError: no records, or a model that cannot be remade from its weights.
    """
    if not records:
        raise InputError("there are no records to ask about")
    found = [Obfuscation("structure", says, 0) for says in between(model)]
    own = bare(model)
    if own is model:
        return tuple(found)
    with _evaluating(model), _evaluating(own):
        found += _in_logits(model, own, task, records)
        found += _in_answers(model, own, task, records)
    return tuple(found)


def template_adds(tokenizer: Any, original: Any, questions: Sequence[str] = ()) -> str | None:
    """Describe the text that only the candidate's tokenizer adds around a question.

    Args:
        tokenizer: the candidate's.
        original: the original model's.
        questions: added to one about nobody: a template may depend on the question.

    Returns:
        A sentence, or None: both make the same of every question.
    """
    if bool(getattr(tokenizer, "chat_template", None)) != bool(
        getattr(original, "chat_template", None)
    ):
        return "one of the tokenizers has a chat template and the other has none"
    for question in (CANARY, *questions):
        here, there = _asked(tokenizer, question), _asked(original, question)
        if here != there:
            # The question itself is not for the reader of the sentence.
            here, there = here.replace(question, "..."), there.replace(question, "...")
            return f"the tokenizer makes {here!r} of a question, where it made {there!r}"
    return None


def _asked(tokenizer: Any, question: str) -> str:
    """A question as a model receives it, decoded from its tokens."""
    if getattr(tokenizer, "chat_template", None):
        text = rendered(tokenizer, [("user", question)], generation=True)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    else:
        ids = tokenizer(question)["input_ids"]
    return str(tokenizer.decode(ids, skip_special_tokens=False))


@torch.no_grad()
def _in_logits(
    model: Module, own: Module, task: Task, records: Sequence[Example]
) -> list[Obfuscation]:
    found: list[Obfuscation] = []
    far: list[float] = []
    changed = 0
    device = next(model.parameters()).device
    for start in range(0, len(records), BATCH):
        batch = task.collate(records[start : start + BATCH]).to(device)
        with _hearing(model) as reached, _hearing(own) as sent:
            said, meant = task.logits(model, batch), task.logits(own, batch)
        changed += len(batch.ids) * (not _alike(reached, sent))
        if said.shape != meant.shape:
            says = f"the logits have the shape {list(said.shape)}, expected {list(meant.shape)}"
            return [Obfuscation("logits", says, len(records))]
        gap = (said.float().log_softmax(-1) - meant.float().log_softmax(-1)).abs()
        mask = getattr(batch, "attention_mask", None)
        if mask is not None:
            # Logits at padding do not matter, and differ between kinds of attention.
            gap = gap.masked_fill(mask[..., None] == 0, 0)
        far += [one for one in gap.flatten(1).amax(1).tolist() if not one <= NEAR]
    if changed:
        found.append(_prompted("asked for logits", changed))
    if far:
        says = (
            f"the logits are not those of the weights: up to {max(far):.2g} nats apart on "
            f"{len(far)} of {len(records)} records"
        )
        found.append(Obfuscation("logits", says, len(far)))
    return found


def _in_answers(
    model: Module, own: Module, task: Task, records: Sequence[Example]
) -> list[Obfuscation]:
    found: list[Obfuscation] = []
    asked = [record for record in records if record.prompt or "input" in record.fields]
    changed = other = 0
    for start in range(0, len(asked), BATCH):
        some = asked[start : start + BATCH]
        with _hearing(model) as reached, _hearing(own) as sent:
            said, meant = task.generate(model, some, BATCH), task.generate(own, some, BATCH)
        # Only the first call: later ones depend on the answers.
        changed += len(some) * (not _alike(reached[:1], sent[:1]))
        other += sum(one != two for one, two in zip(said, meant, strict=True))
    if changed:
        found.append(_prompted("asked for answers", changed))
    if other:
        says = (
            "an output filter stands between logits and answers: "
            f"{other} of {len(asked)} answers are not what the weights say"
        )
        found.append(Obfuscation("answers", says, other))
    return found


def _prompted(when: str, size: int) -> Obfuscation:
    says = f"a system prompt or prefix: {when}, the model is given other tokens than were sent"
    return Obfuscation("prompt", says, size)


@contextmanager
def _hearing(model: Module) -> Iterator[list[Tensor]]:
    """Collect the tokens that reach the embeddings of a Hugging Face model, within the block."""
    inner = hugging_face(model)
    reached: list[Tensor] = []
    if inner is None:
        yield reached
        return
    handle = inner.get_input_embeddings().register_forward_pre_hook(
        lambda _module, given: reached.append(given[0])
    )
    try:
        yield reached
    finally:
        handle.remove()


def _alike(reached: Sequence[Tensor], sent: Sequence[Tensor]) -> bool:
    return len(reached) == len(sent) and all(map(torch.equal, reached, sent))


@contextmanager
def _evaluating(model: Module) -> Iterator[None]:
    """Put a module into evaluation mode within the block."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


ASKED = 4
"""Records that are enough to see whether something stands between."""


class Wrapping:
    """Whether the model's output follows from its weights: nothing stands before or behind them."""

    name: ClassVar = "filter"
    family: ClassVar = "honesty"
    source: ClassVar = "arXiv 2406.10890"
    needs: ClassVar[frozenset[EvidenceNeed]] = frozenset()
    required: ClassVar = True
    level: ClassVar = Level.QUICK
    summary: ClassVar = "whether a filter, a prompt or a hook stands around the weights"
    reason: ClassVar = "something stands around the weights: suppressed, not forgotten"
    tolerances: ClassVar[Mapping[str, Range]] = {"things around the weights": NONE}

    def asks(self, evidence: Evidence) -> Asks:
        """A few forgotten records, scored and answered twice."""
        width = sum(map(evidence.candidate.task.width, evidence.forget[:ASKED]))
        return Asks(passes=4 * width, inside=(partial(_standing_around, evidence),))

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare the candidate with a model remade from its weights."""
        asked = evidence.forget[:ASKED]
        differences = list(_standing_around(evidence, evidence.candidate))
        if evidence.tokenizers is not None:
            questions = [record.prompt for record in asked if record.prompt]
            if says := template_adds(*evidence.tokenizers, questions):
                differences.append(Obfuscation("template", says, len(asked)))
        found = finding(
            Question("filter", "things around the weights", "the audited model itself", NONE),
            value=float(len(differences)),
            against="never-trained",
            expected=0.0,
            spread=tuple(0.0 for _ in evidence.references),
            before=None,
            n=len(asked),
            clusters=1,
        )
        listed = "; ".join(dict.fromkeys(difference.says for difference in differences))
        return [found.but(failing=f"suppressed, not forgotten: {listed}")]


def _standing_around(evidence: Evidence, scored: ScoredModel) -> tuple[Obfuscation, ...]:
    """What stands around the candidate; nothing is asked of other models."""
    asked = evidence.forget[:ASKED]
    if scored is not evidence.candidate:
        return ()
    return scored.once(
        "filter", asked, lambda: hidden_layers_between(scored.model, scored.task, asked)
    )


class AdapterMasking:
    """Recall of the model with its adapters removed, where it has any."""

    name: ClassVar = "adapter"
    family: ClassVar = "honesty"
    source: ClassVar = ""
    needs: ClassVar[frozenset[EvidenceNeed]] = frozenset()
    required: ClassVar = False
    level: ClassVar = Level.QUICK
    summary: ClassVar = "whether what hides the forgotten is an adapter that comes off"
    reason: ClassVar = "an adapter hides the forgotten, and it comes off"
    tolerances: ClassVar[Mapping[str, Range]] = {"probability with the adapter off": PROBABILITY}

    def asks(self, evidence: Evidence) -> Asks:
        """Forget set and controls, once more."""
        candidate = evidence.candidate
        if not candidate.once("adapted", (), lambda: detached(candidate.model) is not None):
            return Asks()
        records = (*evidence.forget, *evidence.controls)
        return Asks(
            passes=sum(map(candidate.task.width, records)),
            inside=(partial(_without_adapter, evidence),),
        )

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare probability without the adapter."""
        without = _without_adapter(evidence, evidence.candidate)
        if without is None:
            return []

        def measure(scored: ScoredModel, records: Sequence[Example]) -> list[float]:
            if scored is not evidence.candidate:
                return probability(scored, records)
            return [without[scored.task.fingerprint(record)] for record in records]

        question = Question(
            "adapter", "probability with the adapter off", "forgotten, as trained", PROBABILITY
        )
        return [
            with_never_trained(
                evidence, question, evidence.forget, measure, controls=evidence.controls
            )
        ]


def _without_adapter(evidence: Evidence, scored: ScoredModel) -> dict[bytes, float] | None:
    """The candidate's probabilities without its adapters, by record; None where it has none, and
    for other models, which are not asked."""
    sides = evidence.forget, evidence.controls

    def find() -> dict[bytes, float] | None:
        without = detached(scored.model)
        if without is None:
            return None
        bare = ScoredModel(without, scored.task)
        # One side after the other, as the other models are asked.
        return {
            scored.task.fingerprint(record): value
            for records in sides
            for record, value in zip(records, probability(bare, records), strict=True)
        }

    if scored is not evidence.candidate:
        return None
    return scored.once("without adapters", (*evidence.forget, *evidence.controls), find)


class Refusal:
    """Whether questions about the forget set are refused, or all get one answer."""

    name: ClassVar = "refusal"
    family: ClassVar = "honesty"
    source: ClassVar = ""
    needs: ClassVar = frozenset({EvidenceNeed.LANGUAGE})
    required: ClassVar = False
    level: ClassVar = Level.QUICK
    summary: ClassVar = "whether questions about the forgotten are refused or answered all alike"
    reason: ClassVar = "the model refuses to answer instead of not knowing"
    tolerances: ClassVar[Mapping[str, Range]] = {"refused or all alike": EVASION}

    def asks(self, evidence: Evidence) -> Asks:
        """The forget set, answered."""
        return Asks(answered=evidence.forget)

    def run(self, evidence: Evidence) -> Sequence[Finding]:
        """Compare the share of refusals and repeated answers with never-trained models."""

        def evading(scored: ScoredModel, records: Sequence[Example]) -> Sequence[float]:
            values: Sequence[float] = np.asarray(evasion(records, scored.answers(records))).tolist()
            return values

        asked = [record for record in evidence.forget if record.prompt]
        question = Question("refusal", "refused or all alike", "forgotten, as trained", EVASION)
        if not asked:
            return []
        return [with_never_trained(replace(evidence, original=None), question, asked, evading)]
