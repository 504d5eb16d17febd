"""The next step of a request: who takes it, and the command where no page does it.

Also the conclusion of an attempt, in one sentence that every page, command and certificate repeats.

The guarantee of an exact method rests on how the model was made. Its audit can contradict it, and
then nothing is published before a person has looked; the audit cannot prove it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from olvido.artifacts import KINDS, Who
from olvido.ledger.facts import ClosureItem, Guarantee, Request, RequestKind, RequestStatus
from olvido.requests.handlers import APPROVALS, RequestContext, approvals, needs_decision
from olvido.requests.rights.deadlines import again_by
from olvido.requests.scope import corrections

TEAM, ENGINEER, WORKER, PERSON = "the privacy team", "an engineer", "the worker", "the person"

_S = RequestStatus
_ASIDE = (_S.NEEDS_INPUT, _S.WAITING, _S.CANCELLED)
_PERHAPS = ("file", "orphan", "export")
"""Kinds that `--erase all` includes if the item is Olvido's or the person's alone."""
EXPORTED = "exported"
"""The key that marks the step of an answer to a request for access."""


@dataclass(frozen=True, slots=True)
class NextStep:
    """The next step of a request.

    Attributes:
        who: who takes it.
        says: what they do, in a sentence.
        command: the command that does it; None where there is nothing to run.
    """

    who: str
    says: str
    command: str | None = None

    @property
    def sentence(self) -> str:
        """The step in one line.

        >>> NextStep(TEAM, "Look at the plan, and approve it.").sentence
        'Next, the privacy team: Look at the plan, and approve it.'
        """
        return f"Next, {self.who}: {self.says} {self.command or ''}".strip()


def not_now(context: RequestContext, request: Request, why: str) -> str:
    """The error for an act that does not fit a request's status, with its next step.

    Args:
        context: the ledger and settings with the request.
        request: the request.
        why: what follows from its status, as "nothing is run for it now".
    """
    reason = request.history[-1].detail.get("why") if request.status in _ASIDE else None
    stands = f"{request.status} ({reason})" if reason else request.status
    ended = request.status in (_S.REFUSED, _S.CLOSED)
    anew = " What is asked anew is a new request: olvido request new" if ended else ""
    return f"request {request.id} is {stands}: {why}. {next_step(context, request).sentence}{anew}"


def next_step(context: RequestContext, request: Request) -> NextStep:
    """The step that a request waits for, or that is still possible."""
    one = request.id
    plan = f"olvido request plan {one}"
    corrects = request.kind is RequestKind.RECTIFICATION and not corrections(request)
    if corrects and request.status in (_S.IDENTIFIED, _S.LOCATED):
        says = "Enter what is right, as rows with the same ids: it becomes a new version."
        return NextStep(TEAM, says, f"olvido request correct {one} --rows FILE --by NAME")
    if not request.kind.forgets and (step := _to_tell(request)) is not None:
        return step
    if request.status in (_S.RECEIVED, _S.IDENTIFIED):
        if request.kind is RequestKind.DESTROY:
            return NextStep(ENGINEER, "Plan what is to be destroyed.", plan)
        if request.status is _S.RECEIVED and request.subject is not None:
            return _to_identify(request)
        says = "Find the records, datasets and models that it is about."
        return NextStep(ENGINEER, says, f"olvido request locate {one}")
    if request.status is _S.LOCATED:
        return NextStep(ENGINEER, "Price every way to answer it, and choose one.", plan)
    if request.status is _S.PLANNED:
        return _to_approve(request)
    if request.status in (_S.APPROVED, _S.RUNNING, _S.AUDITED):
        if request.kind is RequestKind.DESTROY:
            return NextStep(ENGINEER, "Destroy the model.", f"olvido request run {one}")
        return NextStep(WORKER, "Forget, audit and publish, as it was approved.", "olvido run")
    if request.status is _S.NEEDS_INPUT and needs_decision(request):
        says = (
            "Look at the evidence, and decide: run it again another way, or make a new plan. "
            "Nothing was published."
        )
        return NextStep(TEAM, says, f"olvido request run {one} --method METHOD")
    if request.status in (_S.NEEDS_INPUT, _S.WAITING):
        return _to_resume(request)
    if request.status is _S.PUBLISHED:
        return _to_close(request, context.store.closure(one))
    if request.kind is RequestKind.RETENTION and request.status in (_S.REFUSED, _S.CLOSED):
        return NextStep(TEAM, "Nothing is left to do: a rule asked for it, and no person.")
    if request.status in (_S.REFUSED, _S.CLOSED):
        says = "Send the person the letter that fits, if that was not done yet."
        day = again_by(request, context.settings)
        if day is None:
            return NextStep(TEAM, says, _letter(context, request))
        says += f" By {day.isoformat()} its law wants done again what came in since."
        return NextStep(TEAM, says, f"olvido request again {one}")
    says = "It was called off. Whoever wants it after all takes it up again."
    return NextStep(TEAM, says, f"olvido request resume {one}")


def left_before_run(context: RequestContext, request: Request) -> NextStep | None:
    """The step before a request may be run with others; None: no further step.

    A request that nobody has examined is never run along with others.
    """
    found = request.status in (_S.LOCATED, _S.PLANNED, _S.APPROVED) or needs_decision(request)
    unchecked = request.subject is not None and identity_checked(request) is None
    corrects = request.kind is RequestKind.RECTIFICATION and not corrections(request)
    if found and not unchecked and not corrects:
        return None
    if unchecked and request.status in (_S.LOCATED, _S.RECEIVED):
        return _to_identify(request)
    return next_step(context, request)


def _to_identify(request: Request) -> NextStep:
    says = "Check who asks, and note it. Then an engineer finds what it is about."
    return NextStep(TEAM, says, f"olvido request identify {request.id} --by NAME")


def _letter(context: RequestContext, request: Request) -> str:
    """The command that writes the letter about a request's answer."""
    from olvido.requests.rights.letter import REASONED, fitting

    *_, kind = fitting(context, request)
    why = " --reason WHY" if kind in REASONED else ""
    law = " --law LAW" if request.law is None else ""
    return f"olvido notice {request.id} --kind {kind}{why}{law}"


def _to_tell(request: Request) -> NextStep | None:
    """The next step of a request for access; None where it is the same as for any request."""
    if request.status is _S.RECEIVED:
        says = "Check who asks, and note it: whoever is answered gets the person's data."
        return NextStep(TEAM, says, f"olvido request identify {request.id} --by NAME")
    if request.status not in (_S.IDENTIFIED, _S.LOCATED):
        return None
    if exported(request) is None:
        says = "Write down what is held about the person, and look at it before it is sent."
        command = f"olvido request export {request.id} --out FOLDER --by NAME"
        return NextStep(TEAM, says, command)
    says = (
        "Send the person what was written, with the letter that fits; then close it, and remove "
        "the folder."
    )
    return NextStep(TEAM, says, f"olvido request close {request.id}")


def exported(request: Request) -> Mapping[str, Any] | None:
    """The last answer to a request for access: by whom, when, the document's digest."""
    for step in reversed(request.history):
        if EXPORTED in step.detail:
            return {**step.detail[EXPORTED], "at": step.at}
    return None


def identity_checked(request: Request) -> date | None:
    """The day (UTC) on which an identity check was noted; None where none was."""
    days = [step.at.date() for step in request.history if step.status is _S.IDENTIFIED]
    return days[0] if days else None


def identity_basis(request: Request) -> str:
    """Whether the identity was checked, in one sentence that is the same everywhere."""
    day = identity_checked(request)
    if request.subject is None:
        return "no person is asked for: there is no identity to check"
    if day is None:
        return "not checked: nobody has noted that it was checked who asks"
    return f"checked, as was noted on {day.isoformat()}"


def _to_approve(request: Request) -> NextStep:
    given, needed = len(approvals(request)), APPROVALS.get(request.kind, 1)
    who = f"{TEAM}: {needed} people, of whom {given} did" if needed > 1 else TEAM
    command = f"olvido request approve {request.id} --by NAME"
    return NextStep(who, "Look at the plan, and approve it.", command)


def _to_resume(request: Request) -> NextStep:
    said = request.history[-1].detail
    resume = f"olvido request resume {request.id}"
    if request.status is _S.NEEDS_INPUT:
        return NextStep(
            PERSON, f"Answer ({said.get('for')}); then the team goes on with it.", resume
        )
    until = said.get("until")
    return NextStep(
        TEAM, f"It waits{f' until {until}' if until else ''}; then go on with it.", resume
    )


def _to_close(request: Request, items: tuple[ClosureItem, ...]) -> NextStep:
    command = f"olvido request close {request.id}"
    blank = [item for item in items if item.exit is None]
    if not items:
        return NextStep(ENGINEER, "Look for everything else that holds the data.", command)
    if blank:
        several = f"{len(blank)} things have" if len(blank) > 1 else "1 thing has"
        kinds = [item.item.partition(":")[0] for item in blank]
        if all(KINDS[kind].who is Who.TEAM for kind in kinds):
            says = (
                f"{several} no exit yet, where Olvido can erase nothing: say how it was erased, "
                "when it expires (--expires) or why it stays (--cannot)."
            )
            return NextStep(TEAM, says, f"{command} --done ITEM=HOW")
        says = (
            f"{several} no exit yet: erase what can be erased; of the rest, say when it expires "
            "or why it stays."
        )
        own = any(KINDS[kind].who is Who.ALL or kind in _PERHAPS for kind in kinds)
        erase = f"{command} --erase {'all' if own else 'ITEM'}"
        return NextStep(f"{ENGINEER} and {TEAM}", says, erase)
    return NextStep(ENGINEER, "Everything has its exit: look once more, and close it.", command)


def bounded(bound: Mapping[str, Any]) -> str:
    """Say a certificate's bound in a sentence; shares of people are rounded up."""
    right = math.ceil(round(1000 * bound["true_positives"], 6)) / 10
    return (
        f"epsilon {bound['epsilon']:.3g} at delta {bound['delta']:.2g} ({bound['relation']}, "
        f"{bound['units']} of unit {bound['unit']}; accountant {bound['accountant']}): a test that "
        f"names {bound['false_positives']:.0%} of those who took no part recognises at most "
        f"{right:g}% of those who did"
    )


def certified_as(predicate: Mapping[str, Any]) -> str:
    """Say in a sentence what the claim of a certificate rests on."""
    if predicate["guarantee"]["bound"] is not None:
        return "bounded by how the model was trained; it was not changed, and not audited"
    return conclusion(predicate["guarantee"]["class"], predicate["audit"])


def conclusion(
    guarantee: str | None, audit: Mapping[str, Any] | None, failure: str | None = None
) -> str:
    """Say in a sentence what the claim of a forgetting rests on, or why it was not published.

    Args:
        guarantee: the method's guarantee; None where it made no model.
        audit: the audit's report as plain values; None where there was none.
        failure: why the method failed outright.

    >>> conclusion("exact", None)
    'exact by construction; it was not audited, since equality leaves an audit nothing to find'
    """
    if failure is not None or guarantee is None:
        return f"not published: the method failed ({failure})"
    if guarantee == Guarantee.DESTROYED:
        return "the model was destroyed, which leaves nothing to audit"
    exact = guarantee == Guarantee.EXACT
    if audit is None:
        if exact:
            return (
                "exact by construction; it was not audited, since equality leaves an audit nothing "
                "to find"
            )
        return f"not published: forgetting that is {guarantee} needs an audit, and had none"
    verdict, why = audit["verdict"], "; ".join(audit["reasons"])
    if verdict == "pass":
        return f"{guarantee}{' by construction' if exact else ''}, and its audit passed"
    reason = f" ({why})" if why else ""
    if exact and verdict == "unknown":
        return (
            "exact by construction; its audit could not decide, and speaks neither for that nor "
            f"against it{reason}"
        )
    if exact:
        return (
            "not published: the method is exact by construction and its audit failed, so somebody "
            f"has to look{reason}"
        )
    return (
        f"not published: its audit {'failed' if verdict == 'fail' else 'could not decide'}{reason}"
    )


def concluded_as(attempt: Mapping[str, Any]) -> str:
    """The conclusion of an attempt in a request's report."""
    outcome = attempt["outcome"]
    return conclusion(outcome and outcome["guarantee"], attempt["audit"], attempt["failure"])


def audits_of(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The audits in a request's report, in order, with the text of a page around each."""
    return [
        {
            **attempt["audit"],
            "name": f"request {report['request']}, by {attempt['method']}",
            "guarantee": attempt["outcome"]["guarantee"],
            "cost": attempt["outcome"].get("cost"),
            "options": attempt.get("options"),
        }
        for attempt in report["attempts"]
        if attempt["audit"]
    ]
