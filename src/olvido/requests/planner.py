"""Every way to forget, priced before anything runs, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from olvido.errors import InputError, MissingNeed
from olvido.forgetting import Cost, Split, options_of, predict, ways
from olvido.learners import Trained
from olvido.ledger.facts import Guarantee
from olvido.tasks import Task

EMPIRICAL_FIRST = ("npo", "graddiff", "simnpo")
"""Empirical methods worth trying by themselves, the one that passed most audits first (see
docs/results/defaults.md). Ascent is left to those who ask for it."""

OPTIONS: Mapping[str, Mapping[str, Any]] = {"npo": {"project": True}}
"""What a method is given where nobody asked for it by name: with the guard's gradient left alone,
five of five models passed the standard audit where four did without, neighbours were kept better,
and the tenth forgetting in a row passed (docs/results/methods.md and sequence.md)."""

SECOND = "samnpo"
"""Tried where the audit of the first fails: it is relearned least, and passed the standard audit
for all of five models (docs/results/methods.md)."""

WORTH = 0.25
"""Share of the exact way's price that the second try may cost at most. It is worth its price while
it passes more often than that: five of five are 48% or more (95%, Clopper-Pearson), and half of it
is left for what fails the first being harder for the second, and for the second audit."""


@dataclass(frozen=True)
class Route:
    """One way to forget.

    Attributes:
        method: its name.
        guarantee: what it may claim.
        summary: what it does, in a line.
        cost: predicted; None where it does not apply.
        refusal: why it does not apply; None where it does.
    """

    method: str
    guarantee: Guarantee
    summary: str
    cost: Cost | None
    refusal: str | None

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for reports."""
        cost = self.cost
        return {
            "method": self.method,
            "guarantee": self.guarantee.value,
            "summary": self.summary,
            "applies": self.refusal is None,
            "refusal": self.refusal,
            "seconds": None if cost is None else cost.seconds,
            "share_of_retraining": None if cost is None else cost.retraining,
        }


def routes(trained: Trained, split: Split, task: Task) -> tuple[Route, ...]:
    """All methods with their predicted cost, the cheapest first, those that do not apply last."""
    found = []
    for name, method in ways().items():
        cost, refusal = None, None
        try:
            cost = predict(trained, split, task, method=name, options={})
        except (MissingNeed, InputError) as error:
            refusal = str(error)
        found.append(Route(name, method.guarantee, method.summary, cost, refusal))
    return tuple(sorted(found, key=lambda r: (r.cost is None, r.cost.tokens if r.cost else 0.0)))


@dataclass(frozen=True)
class Choice:
    """What is tried, and why.

    Attributes:
        order: methods with their options, the first to be tried first.
        because: the reason, in a sentence.
        most: predicted, if all of them have to be tried; None where one has no price. Audits are
            not in it.
    """

    order: tuple[tuple[str, dict[str, Any]], ...]
    because: str
    most: Cost | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for reports."""
        most = self.most
        return {
            "order": [name for name, _ in self.order],
            "because": self.because,
            "most_seconds": None if most is None else most.seconds,
            "most_share_of_retraining": None if most is None else most.retraining,
        }


def choose(
    found: Sequence[Route],
    *,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    within: float | None = None,
) -> Choice:
    """Which methods to try, one after the other, until one passes.

    An exact method comes first where it costs no more than the best empirical one, and where it is
    asked for by a deadline that it meets. Otherwise an empirical method is tried first; when its
    audit fails a second one, where it costs little beside the exact one and there is time; and the
    cheapest exact one is what is left.

    Args:
        found: all routes.
        method, options: tried first where one is asked for.
        within: seconds there are: the cheapest exact method that meets them; None: no hurry.

    Raises:
        MissingNeed: the method asked for does not apply, or none does.
    """
    chosen = _chosen(found, method=method, options=options, within=within)
    by_name = {route.method: route for route in found}
    return replace(chosen, most=_sum(by_name[name] for name, _ in chosen.order))


def _sum(tried: Iterable[Route]) -> Cost | None:
    """What all of these take together, as far as each is known."""
    costs = [route.cost for route in tried]
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
) -> Choice:
    by_name = {route.method: route for route in found}
    if method is not None and by_name[method].refusal:
        raise MissingNeed(str(by_name[method].refusal))
    # A tie goes to the less sweeping method, which `ways` names first.
    rank = list(ways())
    exact = sorted(
        (r for r in found if r.cost is not None and r.guarantee is Guarantee.EXACT),
        key=lambda r: (r.cost.tokens if r.cost else 0.0, rank.index(r.method)),
    )
    empirical = [by_name[n] for n in EMPIRICAL_FIRST if n in by_name and by_name[n].cost][:1]
    if not exact and not empirical and method is None:
        refusals = "; ".join(dict.fromkeys(str(route.refusal) for route in found))
        raise MissingNeed(f"no method applies: {refusals}")
    last: list[tuple[str, dict[str, Any]]] = [(exact[0].method, {})] if exact else []
    if method is not None:
        first = _timed(method, options or {}, within)
        order = [first, *(pair for pair in last if pair[0] != method)]
        return Choice(tuple(order), _asked(by_name[method], [name for name, _ in order[1:]]))
    if not empirical:
        return Choice(
            tuple(last), f"{_priced(exact[0])} is the cheapest exact way; {_late(exact[0], within)}"
        )
    other = _priced(empirical[0])
    second = _second(by_name.get(SECOND), empirical[0], exact[0] if exact else None, within)
    own = [(route.method, OPTIONS.get(route.method, {})) for route in (empirical[0], *second)]
    tried = [*(_timed(name, options, within) for name, options in own), *last]
    then = "".join(f", then {_priced(route)} if its audit fails" for route in second)
    if not exact:
        return Choice(tuple(tried), f"{other} is tried, and audited{then}: no exact way applies")
    least = exact[0]
    assert least.cost is not None
    assert empirical[0].cost is not None
    if within is not None and (least.cost.seconds or 0.0) <= within:
        because = f"{_priced(least)} is the cheapest exact way and fits into {_time(within)}"
        return Choice(tuple(last), because)
    if least.cost.tokens <= empirical[0].cost.tokens:
        because = f"{_priced(least)} is exact and no dearer than {other}, which would need an audit"
        return Choice(tuple(last), because)
    fails = "both fail" if second else "the audit fails"
    because = (
        f"{other} is tried first, and audited{then}: {_priced(least)} is exact but "
        + ("dearer" if within is None else f"does not fit into {_time(within)}")
        + f", and is left for when {fails}"
    )
    return Choice(tuple(tried), because)


def _second(
    route: Route | None, first: Route, exact: Route | None, within: float | None
) -> tuple[Route, ...]:
    """What is tried between the first and the exact method, where it is worth it and there is time.

    Where nothing exact applies it is what is left.
    """
    if route is None or route.cost is None or route.method == first.method:
        return ()
    price = None if exact is None else exact.cost
    if price is not None and route.cost.tokens > WORTH * price.tokens:
        return ()
    both = _sum((first, route))
    late = within is not None and both is not None and (both.seconds or 0.0) > within
    return () if late else (route,)


def _timed(
    method: str, options: Mapping[str, Any], within: float | None
) -> tuple[str, dict[str, Any]]:
    """A method with its options; a search is told how long it may take."""
    found = dict(options)
    if within and "within" in options_of(method):
        found.setdefault("within", within)
    return method, found


def _asked(route: Route, left: Sequence[str]) -> str:
    """Why what was asked for is tried, and what is left for when it fails."""
    if "most" not in options_of(route.method):
        return f"{route.method} was asked for"
    told = (
        f"{_priced(route)} was asked for, which is the price of one trial: settings are tried "
        "until one comes near enough to never having learned"
    )
    return told + (f"; {left[0]} is left for when none does, or the audit fails" if left else "")


def _late(route: Route, within: float | None) -> str:
    seconds = route.cost.seconds if route.cost else None
    if within is None or seconds is None or seconds <= within:
        return "no empirical method applies"
    return f"no method applies that would fit into {_time(within)}"


def _priced(route: Route) -> str:
    cost = route.cost
    assert cost is not None
    about = [] if cost.seconds is None else [f"about {_time(cost.seconds)}"]
    about += [] if cost.retraining is None else [f"{cost.retraining:.1%} of retraining"]
    return route.method + (f" ({', '.join(about)})" if about else "")


def _time(seconds: float) -> str:
    """
    >>> _time(0.42), _time(75), _time(7300)
    ('0.4 s', '75 s', '2.0 h')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 3600 else f"{seconds / 3600:.1f} h"
