"""Price every unlearning method before anything runs, and choose the order of attempts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from olvido.errors import InputError, MissingNeed, StateError, Term
from olvido.learners import Trained
from olvido.ledger.facts import Guarantee, Training
from olvido.methods import METHODS, Cost, Split, predict
from olvido.methods.base import with_origin
from olvido.methods.gradient.calibration import informed_losses
from olvido.methods.origin.weights import module_of
from olvido.models.classifiers.networks import hidden_size
from olvido.reporting.words import duration
from olvido.schemas.plan import Base, Chosen, Promise, Way
from olvido.tasks import Task
from olvido.tasks.sampling import uniform
from olvido.tasks.scoring import losses_of

EMPIRICAL = "samnpo"
"""The default empirical method: it passed most audits in tuning (docs/results/towns.md)."""

OPTIONS: Mapping[str, Any] = {"project": True, "radius": 0.1, "retain_batch": 16}
"""Its options then. Fewer retained records a step pay for more steps."""

AIMED: Mapping[str, Any] = {"epochs": 120}
"""Its further options where a holdout set tells it when to stop: with 30 epochs it stopped short of
the target in 16 of 16 test data sets (docs/results/towns.md)."""

CLASSES = 1e-3
"""Its learning rate for a classifier of hidden size 128 or less, and of more by the inverse: at the
rate of language models a small convolutional network had moved by a twentieth of its way when the
passes ended (docs/how-to/models-from-elsewhere.md)."""
WIDTH = 128

ROOTED = "arithmetic"
"""The empirical method of a language model whose base is known: what it takes does not come back
when half of it is learned again (docs/results/origins.md)."""
ASKED = 32
"""Records of the forget set by which the base is judged, at the most."""


@dataclass(frozen=True)
class Route:
    """One method with its predicted cost.

    Attributes:
        method: the method's name.
        guarantee: its guarantee.
        summary: what it does, in a line.
        cost: its predicted cost; None where it does not apply.
        refusal: why it does not apply; None where it does.
        options: its default options, for which the cost is predicted.
        preferred: whether it is the empirical method to try first.
        base: of the method that begins with the model's base, whether that is fit for it.
    """

    method: str
    guarantee: Guarantee
    summary: str
    cost: Cost | None
    refusal: str | None
    options: Mapping[str, Any] = field(default_factory=dict)
    preferred: bool = False
    base: Base | None = None

    @property
    def way(self) -> Way:
        """The route for documents."""
        cost = self.cost
        return Way(
            method=self.method,
            guarantee=self.guarantee.value,
            summary=self.summary,
            applies=self.refusal is None,
            refusal=self.refusal,
            seconds=None if cost is None else cost.seconds,
            share_of_retraining=None if cost is None else cost.retraining,
        )


def routes(trained: Trained, split: Split, task: Task) -> tuple[Route, ...]:
    """All methods with their predicted cost, the cheapest first, inapplicable ones last."""
    # Once for all of them: of an adapter, the digest of its base has to be computed.
    split = with_origin(trained, split)
    base = _base(trained, split, task)
    preferred = ROOTED if base is Base.CLEAN else EMPIRICAL
    found = []
    for name, method in METHODS.items():
        cost, refusal = None, None
        options = {}
        if name == EMPIRICAL:
            options = {**OPTIONS, **(AIMED if split.holdout else {})}
            if task.classes:
                width = hidden_size(trained.model, otherwise=WIDTH)
                options["lr"] = CLASSES * min(1.0, WIDTH / width)
        try:
            cost = predict(trained, split, task, method=name, options=options)
        except (MissingNeed, InputError) as error:
            refusal = error.rendered(_by_command)
        found.append(
            Route(
                name, method.guarantee, method.summary, cost, refusal, options,
                preferred=name == preferred, base=base if name == ROOTED else None,
            )
        )  # fmt: skip
    return tuple(sorted(found, key=lambda r: (r.cost is None, r.cost.tokens if r.cost else 0.0)))


def _base(trained: Trained, split: Split, task: Task) -> Base:
    """Whether a language model was trained from weights that know the language and not the records.

    A base that gives anybody's records at least half of the probability that the model gives them,
    a token, knows them itself: nothing that begins there forgets them (docs/results/origins.md).
    """
    if task.classes:
        return Base.CLASSES
    if split.origin is None:
        return Base.UNKNOWN
    if not split.retain:
        return Base.NOTHING_KEPT
    some = uniform(split.forget, ASKED, 0)
    size = max(1, min(len(some), 8))
    try:
        base = module_of(split.origin)
    except (InputError, StateError):
        return Base.GONE
    before = informed_losses(base, some, task, size)
    if not before:
        return Base.UNINFORMED
    now = losses_of(trained.model, some, task, size)
    apart: dict[tuple[str, ...], list[float]] = {}
    for record in some:
        apart.setdefault(record.subjects, []).append(before[record.id] - now[record.id])
    # One person whom the base knows would stay.
    return Base.CLEAN if min(map(fmean, apart.values())) > math.log(2) else Base.KNOWS


_PASSED_OVER = {
    Base.CLASSES: "the model is no language model, for which alone it was measured",
    Base.UNKNOWN: "what the model was trained from is not known ('olvido models add --base MODEL')",
    Base.NOTHING_KEPT: "no record is kept from which its base could learn how answers look",
    Base.GONE: "the weights that the model was trained from cannot be had any more",
    Base.UNINFORMED: "the weights that the model was trained from answer no better than by chance",
    Base.KNOWS: "the weights that the model was trained from know one of the people themselves",
}
"""Why a forgetting does not begin with the model's base, in words."""

_OPTIONS_OF = {
    "holdout": "'olvido request plan --holdout DATASET'",
    "reference": "'olvido forget --reference MODEL'",
    "base": "'olvido models add --base MODEL'",
}


def _by_command(term: Term) -> str:
    """The command-line name of a parameter: readers of a plan call no functions."""
    return _OPTIONS_OF.get(term.name, str(term))


@dataclass(frozen=True)
class Choice:
    """The methods to try, and why.

    Attributes:
        order: methods with their options, in the order of attempts.
        because: the reason, in a sentence.
        most: the predicted cost of trying all of them, without audits; None where one is unknown.
        training: whether the model's training is `witnessed` or `declared`; None: no model forgets.
        lacking: why the audit cannot be made yet, and what to do; None where it can.
        promise: what a private training bounds of the records already; None where none was private.
        unchanged: whether that answers the requests, so that the model stays as it is.
        base: whether forgetting can begin with what the model was trained from, or why not.
    """

    order: tuple[tuple[str, dict[str, Any]], ...]
    because: str
    most: Cost | None = None
    training: Training | None = None
    lacking: str | None = None
    promise: Promise | None = None
    unchanged: bool = False
    base: Base | None = None

    @property
    def chosen(self) -> Chosen:
        """The choice for documents."""
        most = self.most
        return Chosen(
            order=tuple(name for name, _ in self.order),
            because=self.because,
            most_seconds=None if most is None else most.seconds,
            most_share_of_retraining=None if most is None else most.retraining,
            training=self.training,
            lacking=self.lacking,
            promise=self.promise,
            unchanged=self.unchanged,
            base=self.base,
        )


def choose(
    found: Sequence[Route],
    *,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    within: float | None = None,
    evidence: Cost | None = None,
) -> Choice:
    """Choose the methods to try, one after the other, until one passes.

    An empirical method is worth nothing without its audit, and the audit nothing without retrained
    models. Their cost counts as the method's: each is a training without the records, like the
    exact method's result. So an exact method is tried alone where it costs no more than the
    empirical one with its evidence, or where there is a deadline that it meets. Otherwise the
    empirical one is tried first, and the cheapest exact one if the audit fails.

    Args:
        found: all routes.
        method, options: the method to try first, if any; missing options are those of its route.
        within: the seconds available, for the cheapest exact method that meets them; None: no
            deadline.
        evidence: the cost of the retrained models that are missing; None where none is, or where
            they are made in any case.

    Raises:
        MissingNeed: the method asked for does not apply, or none does.
    """
    chosen = _chosen(found, method=method, options=options, within=within, evidence=evidence)
    by_name = {route.method: route for route in found}
    tried = [by_name[name] for name, _ in chosen.order]
    empirical = any(r.guarantee is not Guarantee.EXACT for r in tried)
    audited = evidence is not None and empirical
    base = by_name[ROOTED].base if ROOTED in by_name else None
    because = chosen.because
    if method is None and empirical and base in _PASSED_OVER:
        because += f"; {ROOTED} is passed over: {_PASSED_OVER[base]}"
    most = _sum([r.cost for r in tried] + [evidence] * audited)
    return replace(chosen, because=because, most=most, base=base)


def _sum(costs: Sequence[Cost | None]) -> Cost | None:
    """The sum of the costs that are known."""
    known = [cost for cost in costs if cost is not None]
    if len(known) < len(costs):
        return None
    seconds = [cost.seconds for cost in known]
    shares = [cost.retraining for cost in known]
    return Cost(
        sum(cost.tokens for cost in known),
        None if None in seconds else sum(s for s in seconds if s is not None),
        None if None in shares else sum(s for s in shares if s is not None),
    )


def _chosen(
    found: Sequence[Route],
    *,
    method: str | None,
    options: Mapping[str, Any] | None,
    within: float | None,
    evidence: Cost | None,
) -> Choice:
    by_name = {route.method: route for route in found}
    if method is not None and by_name[method].refusal:
        raise MissingNeed(str(by_name[method].refusal))
    # A tie goes to the less sweeping method, which the table names first. A method of another
    # package, with its claims, is only used where somebody asks for it.
    rank = list(METHODS.built_in)
    exact = sorted(
        (
            r
            for r in found
            if r.cost is not None and r.guarantee is Guarantee.EXACT and r.method in rank
        ),
        key=lambda r: (r.cost.tokens if r.cost else 0.0, rank.index(r.method)),
    )
    # The preferred one, and in its place that which asks for nothing.
    favoured = [*(r for r in found if r.preferred), *(r for r in found if r.method == EMPIRICAL)]
    ways = list({r.method: r for r in favoured if r.cost is not None}.values())
    other = ways[0] if ways else None
    if not exact and other is None and method is None:
        refusals = "; ".join(dict.fromkeys(str(route.refusal) for route in found))
        raise MissingNeed(f"no method applies: {refusals}")
    last: list[tuple[str, dict[str, Any]]] = [(exact[0].method, {})] if exact else []
    if method is not None:
        # A run has the options of the price, except those that were asked for.
        first = _timed(method, {**by_name[method].options, **(options or {})}, within)
        order = [first, *(pair for pair in last if pair[0] != method)]
        return Choice(tuple(order), _asked(by_name[method], [name for name, _ in order[1:]]))
    if other is None:
        return Choice(
            tuple(last), f"{_priced(exact[0])} is the cheapest exact way; {_late(exact[0], within)}"
        )
    tried = [_timed(other.method, other.options, within), *last]
    if not exact:
        tried += [_timed(r.method, r.options, within) for r in ways[1:]]
        because = f"{_priced(other)} is tried, and audited: no exact way applies"
        if ways[1:]:
            because += f"; {_priced(ways[1])} is left for when the audit fails"
        return Choice(tuple(tried), because)
    least = exact[0]
    whole = _sum([other.cost] if evidence is None else [other.cost, evidence])
    assert least.cost is not None
    assert whole is not None
    if within is not None and (least.cost.seconds or 0.0) <= within:
        because = f"{_priced(least)} is the cheapest exact way and fits into {duration(within)}"
        return Choice(tuple(last), because)
    if least.cost.tokens <= whole.tokens:
        audit = (
            ", which would need an audit"
            if evidence is None
            else f" with the never-trained models that its audit needs ({_about(evidence)})"
        )
        late = "" if within is None else f"; it does not fit into {duration(within)}"
        because = f"{_priced(least)} is exact and no dearer than {_priced(other)}{audit}{late}"
        return Choice(tuple(last), because)
    because = (
        f"{_priced(other)} is tried first, and audited: {_priced(least)} is exact but "
        + ("dearer" if within is None else f"does not fit into {duration(within)}")
        + ", and is left for when the audit fails"
    )
    return Choice(tuple(tried), because)


def _timed(
    method: str, options: Mapping[str, Any], within: float | None
) -> tuple[str, dict[str, Any]]:
    """A method with its options; a search also gets its time limit."""
    found = dict(options)
    if within and "within" in METHODS.options(method):
        found.setdefault("within", within)
    return method, found


def _asked(route: Route, left: Sequence[str]) -> str:
    """Why the method that was asked for is tried, and what is tried if it fails."""
    if "most" not in METHODS.options(route.method):
        return f"{route.method} was asked for"
    text = (
        f"{_priced(route)} was asked for, which is the price of one trial: settings are tried "
        "until one comes near enough to never having learned"
    )
    return text + (f"; {left[0]} is left for when none does, or the audit fails" if left else "")


def _late(route: Route, within: float | None) -> str:
    seconds = route.cost.seconds if route.cost else None
    if within is None or seconds is None or seconds <= within:
        return "no empirical method applies"
    return f"no method applies that would fit into {duration(within)}"


def _priced(route: Route) -> str:
    assert route.cost is not None
    about = _about(route.cost)
    return route.method + (f" ({about})" if about else "")


def _about(cost: Cost) -> str:
    about = [] if cost.seconds is None else [f"about {duration(cost.seconds)}"]
    about += [] if cost.retraining is None else [f"{cost.retraining:.1%} of retraining"]
    return ", ".join(about)
