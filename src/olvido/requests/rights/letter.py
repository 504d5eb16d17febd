"""Write letters about a request: its facts, in the words of a language."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import jinja2

from olvido.errors import Action, InputError, ParameterName, StateError, UnknownName, Words
from olvido.files import read_document
from olvido.ledger.digests import Digest
from olvido.ledger.facts import DECLARED, Exit, Guarantee, Request, RequestKind, RequestStatus
from olvido.requests.certificate import certificates_of, check
from olvido.requests.certificate.answer import ANSWER, UNSEEN, closure_of
from olvido.requests.guidance import exported
from olvido.requests.handlers import RequestContext, needs_decision
from olvido.requests.not_learned import concluded
from olvido.requests.rights.clock import deadline
from olvido.requests.rights.deadlines import as_received, clock_of, law_of, today
from olvido.requests.rights.language import (
    BOUND,
    DECIDING,
    IN_PART,
    KINDS,
    LETTERS,
    NOT_LEARNED,
    LetterLanguage,
    find_language,
)
from olvido.requests.rights.law import Law
from olvido.requests.rights.rectification import learned
from olvido.requests.rights.registry import find_law
from olvido.settings import Settings

REASONED = ("needs-information", "extension", "refused")
"""Kinds of letters with a reason, in the words of whoever writes one."""
_ANSWERS = ("done", "partly-done")
WRITTEN = "notice-written"
"""The kind of the log's entry about a written letter."""
_WIDTH = 76

_LOG = "log"
"""The item of the data map that stays for every request, and that every answer lists: the log."""
_ITEM = re.compile(r"\s*(-|\d+\.) ")


@dataclass(frozen=True)
class Letter:
    """A letter to the person.

    Attributes:
        request, kind, language: its request, its kind, and its language.
        flowing: its text with each paragraph and each item in one line, for a page of any width.
    """

    request: str
    kind: str
    language: str
    flowing: str

    @property
    def text(self) -> str:
        """The text to be sent as it stands; it names nobody."""
        return _wrapped(self.flowing)

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "request": self.request,
            "kind": self.kind,
            "language": self.language,
            "text": self.text,
        }


def letter(
    context: RequestContext,
    identifier: str,
    kind: str,
    *,
    language: str = "en",
    reason: str | None = None,
    law: str | None = None,
) -> Letter:
    """Write a letter about a request. It claims what the request's certificate says.

    Its kind has to fit the request's status: see `fitting`.

    Args:
        context: a workspace, or its ledger and settings.
        identifier: the request's id.
        kind: one of `KINDS`.
        language: a file in `languages/`, or in the workspace's own `notices/`.
        reason: what is needed, why it takes longer, or why it is refused, in that language.
        law: the law whose recourse is named, if the request has no law; None: the request's own.

    Raises:
        UnknownName: no such request, kind, language or law.
        InputError: a reason or law is missing, or the request names another law.
        StateError: the letter would contradict the request's status, the request was not
            answered, or an item is still open.
    """
    if kind not in KINDS:
        raise UnknownName("kind of notice", kind, KINDS)
    request = context.store.request(identifier)
    words = find_language(language, context.settings.workspace)
    if kind in REASONED and not (reason or "").strip():
        raise InputError(
            f"a notice of the kind {kind!r} says why: give it in the person's language (",
            ParameterName("reason"),
            ")",
        )
    if kind not in REASONED and reason is not None:
        raise InputError(f"a notice of the kind {kind!r} takes no reason")
    _require_fitting(context, request, kind)
    rules = law_of(request, context.settings)
    if law is not None:
        named = find_law(law, workspace=context.settings.workspace)
        if rules is not None and named.name != rules.name:
            raise InputError(
                f"request {identifier} was received under the law {rules.name!r}, whose days and "
                f"recourse hold for it, not those of {named.name!r}: leave the law out"
            )
        rules = rules or named.concerning(request.kind)
    if rules is None:
        raise InputError(
            f"request {identifier} names no law, and the person must learn where to turn: name "
            "the law that holds (",
            ParameterName("law"),
            ")",
        )
    facts = _facts(context, request, kind, rules, words)
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    text = environment.from_string(words.template(kind, request.kind)).render(facts, reason=reason)
    return Letter(identifier, kind, language, _written_out(text, lambda line: line))


def fitting(context: RequestContext, request: Request) -> tuple[str, ...]:
    """The kinds of letters that fit a request's status."""
    status = request.status
    if request.kind is RequestKind.RETENTION:
        # Nobody asked, so nobody is answered.
        return ()
    if status is RequestStatus.REFUSED:
        return ("refused",)
    if status is RequestStatus.CANCELLED:
        return ()
    answering = (RequestStatus.IDENTIFIED, RequestStatus.LOCATED, RequestStatus.CLOSED)
    if not request.kind.forgets and status in answering and exported(request):
        return ("done",)
    if status is RequestStatus.PUBLISHED:
        return ("partly-done",)
    if status is RequestStatus.CLOSED:
        left = any(
            not _clear(item.item, item.exit) and item.item != _LOG
            for item in context.store.closure(request.id)
        )
        hidden = _guarantee(request) == Guarantee.SUPPRESSED
        return ("partly-done",) if left or hidden else ("done",)
    asked = status is RequestStatus.NEEDS_INPUT and not needs_decision(request)
    extended = any("extended" in step.detail for step in request.history)
    return (
        "received",
        *(("needs-information",) if asked else ()),
        *(("extension",) if extended else ()),
    )


def _guarantee(request: Request) -> str | None:
    """The guarantee of a request's last answer; None: it has none."""
    done = [step.detail[ANSWER]["guarantee"] for step in request.history if ANSWER in step.detail]
    return done[-1] if done else None


_FIRST = {
    "needs-information": (
        "what is asked of the person",
        "wait",
        "--for identity|fee|clarification --why WHY",
    ),
    "extension": ("that it takes longer", "extend", "--why WHY"),
    "refused": ("that it is refused", "refuse", "--why WHY"),
}
"""What must be noted before a letter, by its kind: in words, the act, and its options."""


def _require_fitting(context: RequestContext, request: Request, kind: str) -> None:
    """Raise StateError unless a letter fits its request's status."""
    fits = fitting(context, request)
    if kind in fits or (kind == "done" and request.status is RequestStatus.PUBLISHED):
        # For a published request, the remaining items say what is not done.
        return
    first: Words = ("it does not fit",)
    if kind in _FIRST and request.status.open:
        what, act, options = _FIRST[kind]
        command = f"olvido request {act} {request.id} {options}"
        first = (f"{what} is noted first (", Action(act, command), ")")
    raise StateError(
        f"request {request.id} is {request.status}, and a letter of the kind {kind!r} would say "
        "something else: ",
        *first,
        f". What fits now: {', '.join(fits) or 'no letter'}",
    )


def state_of(context: RequestContext, request: Request) -> str:
    """The person's view of a request's status: a key of `LetterLanguage.states`.

    It refers to a letter if one was noted since, and is "done" if no item remains.
    """
    status = request.status
    if status is RequestStatus.PUBLISHED and concluded(request):
        return NOT_LEARNED
    if status is RequestStatus.PUBLISHED and _guarantee(request) == Guarantee.CERTIFIED:
        return Guarantee.CERTIFIED.value
    if needs_decision(request):
        return DECIDING
    if status is RequestStatus.CLOSED and "partly-done" in fitting(context, request):
        return IN_PART
    if status in LETTERS and _written(context, request, LETTERS[status]):
        return f"{status}-letter"
    return status.value


def _written(context: RequestContext, request: Request, kind: str) -> bool:
    """Whether such a letter was noted since the request has its status."""
    since = max(
        number
        for number, step in enumerate(request.history, 1)
        if step.status is request.status and not {"extended", "suppress"} & step.detail.keys()
    )
    return any(
        (entry_detail.get("request"), entry_detail.get("kind")) == (request.id, kind)
        and entry_detail.get("steps", 0) >= since
        for entry_detail in (entry.detail for entry in context.store.events(WRITTEN))
    )


def note(context: RequestContext, written: Letter) -> None:
    """Note in the log that a letter was written to be sent: its digest, and no word of it.

    `steps` is the number of steps that its request had then.
    """
    detail = {
        "request": written.request,
        "kind": written.kind,
        "language": written.language,
        "letter": str(Digest.of(written.text.encode())),
        "steps": len(context.store.request(written.request).history),
    }
    context.store.note(WRITTEN, detail)


def _facts(
    context: RequestContext, request: Request, kind: str, law: Law, words: LetterLanguage
) -> dict[str, Any]:
    settings = as_received(request, context.settings)
    day = today(settings)
    clock = clock_of(request, settings)
    days = deadline(law, clock, today=day, holidays=settings.holidays)
    facts: dict[str, Any] = {
        "request": request.id,
        "asked": words.asked[request.kind.value],
        "received": words.day(_local(request.received_at, settings)),
        "due": None if days.answer is None else words.day(days.answer),
        "law": words.laws.get(law.name, law.title),
        "article": law.answer.article,
        # Quoted from the law's file, or in the language's own words for it: never made up.
        "recourse": words.recourse.get(law.name) or f"{law.title}: {law.recourse}.",
        "erasure": law.erasure or not request.kind.forgets,
    }
    if kind == "extension":
        assert days.extended is not None
        facts["extended"] = words.day(days.extended)
    if not request.kind.forgets:
        written = exported(request) or {}
        facts |= {"found": written.get("records", 0) > 0, "withheld": written.get("withheld", 0)}
    elif kind in _ANSWERS:
        facts |= _answered(context, request, kind, words)
        facts["learned"] = learned(context.store, request)
    return facts


def _answered(
    context: RequestContext, request: Request, kind: str, words: LetterLanguage
) -> Mapping[str, Any]:
    """The facts of an answer, from the newest certificate: it claims no more than its evidence."""
    if why := concluded(request):
        return _not_learned(context, request, kind, words, why)
    found = certificates_of(context, request.id)
    if not found:
        raise StateError(
            f"request {request.id} has no certificate, so nothing can be claimed of it: answer it "
            f"with 'olvido request run {request.id}', or 'olvido certificate issue {request.id}'"
        )
    key = context.store.signer(context.settings.signing_key).public
    checked = check(read_document(found[-1]), key)
    if checked.statement is None or not checked.holds:
        raise StateError(f"the certificate {found[-1]} does not hold: {checked.reasons[0]}")
    predicate = checked.statement["predicate"]
    claimed, training = Guarantee(predicate["guarantee"]["class"]), predicate["training"]["basis"]
    suppressed = claimed is Guarantee.SUPPRESSED
    items = _rest(request, kind, predicate["closure"], words, suppressed=suppressed)
    answered = _local(datetime.fromisoformat(predicate["request"]["answered"]), context.settings)
    return {
        "answered": words.day(answered),
        "guarantee": _done(words, claimed.value, training, predicate["guarantee"]["bound"]),
        "items": items,
        "found": True,
        "certificate": found[-1].name,
    }


def _done(
    words: LetterLanguage,
    claimed: str,
    training: str | None,
    bound: Mapping[str, Any] | None = None,
) -> str:
    """What was done to the model; of one that was trained elsewhere, that this is declared."""
    further = [words.guarantee[DECLARED]] if training == DECLARED else []
    if bound is not None:
        # Rounded to the person's disadvantage: what may be found out is never understated.
        wrong, right = (
            f"{math.ceil(round(1000 * bound[name], 6)) / 10:g}"
            for name in ("false_positives", "true_positives")
        )
        further.append(words.guarantee[BOUND].format(wrong=wrong, right=right))
    return " ".join([words.guarantee[claimed], *further])


def _not_learned(
    context: RequestContext,
    request: Request,
    kind: str,
    words: LetterLanguage,
    why: Mapping[str, Any],
) -> Mapping[str, Any]:
    """The facts of an answer without forgetting, from the ledger alone."""
    items = _rest(request, kind, closure_of(context.store, request), words)
    return {
        "answered": words.day(_local(why["at"], context.settings)),
        "guarantee": _done(words, why["guarantee"] or NOT_LEARNED, why.get("training")),
        "items": items,
        "found": why["records"] > 0,
        "certificate": None,
    }


def _rest(
    request: Request,
    kind: str,
    closure: Mapping[str, Any],
    words: LetterLanguage,
    *,
    suppressed: bool = False,
) -> list[dict[str, Any]]:
    """The remaining items. Raises StateError where the letter would say that there are none."""
    items = _left(closure["items"], words)
    if kind == "done" and (items or suppressed or not closure["complete"]):
        still = ", ".join(closure["open"]) or ", ".join(i["name"] for i in items)
        raise StateError(
            f"request {request.id} is not done: {still or 'the model still holds it'} is left. "
            "Write 'partly-done', or close what is open first"
        )
    return items


def _left(items: Sequence[Mapping[str, Any]], words: LetterLanguage) -> list[dict[str, Any]]:
    """The items that are not erased, each kind once, without the log: every letter names it."""
    left: list[dict[str, Any]] = []
    for item in items:
        kind = item["artefact"].partition(":")[0]
        clear_item = {
            "name": words.artefacts.get(kind, kind),
            "exit": item["exit"],
            "until": item["until"] and words.day(date.fromisoformat(item["until"])),
            "reason": (item["reason"] or "").rstrip("."),
        }
        if kind != _LOG and not _clear(kind, item["exit"]) and clear_item not in left:
            left.append(clear_item)
    return left


def _clear(item: str, exit: str | None) -> bool:
    """Whether an item is known to hold none of the data; one that was not examined is not."""
    looked = item.partition(":")[0] not in UNSEEN
    return exit == Exit.ERASED or (exit == Exit.UNRELATED and looked)


def _local(at: datetime, settings: Settings) -> date:
    """The day of a moment in the team's time zone."""
    return today(settings, at)


def _wrapped(text: str) -> str:
    """Wrap the lines of paragraphs and items."""
    return _written_out(
        text,
        lambda line: textwrap.fill(
            line,
            _WIDTH,
            subsequent_indent="   " if _ITEM.match(line) else "",
            break_long_words=False,
            break_on_hyphens=False,
        ),
    )


def _written_out(text: str, one: Callable[[str], str]) -> str:
    """Separate paragraphs, and write each of their lines or items with `one`."""
    paragraphs = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines: list[str] = []
        for line in block.splitlines():
            if lines and not _ITEM.match(line):
                lines[-1] += f" {line.strip()}"
            else:
                lines.append(line.strip())
        paragraphs.append("\n".join(one(" ".join(line.split())) for line in lines))
    return "\n\n".join(paragraphs) + "\n"
