"""Give each item of a closure its exit, and close the request when no item is open.

An exit that the team declares erases nothing; only files declared unrelated are examined.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from olvido.artifacts import KINDS, Disposal, Who
from olvido.errors import InputError, ParameterName, StateError, UnknownName
from olvido.files import digest_at
from olvido.ledger.facts import ClosureItem, Ending, Exit, Request, RequestStatus, now
from olvido.requests.certificate.limits import LONGEST, sayable
from olvido.requests.closure.erasing import erase
from olvido.requests.closure.inventory import ARRAYS, OUTSIDE, UNSEARCHED, inventory
from olvido.requests.closure.places import Artefact, item_at, lies, looked_into, place_of
from olvido.requests.closure.sought import ids_of, keep_prints, prints_of
from olvido.requests.handlers import RequestContext, deciding, demand_forgetting
from olvido.requests.rights.deadlines import today
from olvido.requests.scope import nameless

DECLARED = "closure-unrelated"
"""The kind of the log's entry by which an account declares an item not to be the person's."""

_LOG = (
    "holds no words of records: ids, keyed digests, and paths of what was exported or is not "
    "erased, needed to show what was done"
)
# Weights are erased before rows: a model that still has to forget needs the rows.
_LAST = ("rows",)
_LASTING = (KINDS["foreign"], KINDS["hardlink"])


def closure(
    context: RequestContext, identifier: str, *, search: Sequence[Path] = ()
) -> tuple[tuple[Artefact, ClosureItem], ...]:
    """Return every item that holds or held a request's data, with its exit.

    An item that was erased or should have expired is open again where it is found again.

    Raises:
        UnknownName: no such request.
        StateError: its models have not forgotten yet.
    """
    request = _answered(context, identifier)
    there = {artefact.item: artefact for artefact in inventory(context, request, search=search)}
    names = {context.store.sealed(item): item for item in there}
    kept = context.store.closure(identifier)
    known = {item: replace(k, item=item) for k in kept for item in [names.get(k.item, k.item)]}
    declared = {e.detail["seen"] for e in context.store.events(DECLARED)}
    found = []
    for item in sorted({*known, *there}):
        artefact = there.get(item) or Artefact(item, "is not there any more")
        blank = ClosureItem(item=item, exit=None, detail=artefact.seen, at=now())
        said = known.get(item, blank)
        if item == "log" and said.exit is None:
            said = ClosureItem(item=item, exit=Exit.CANNOT, detail=_LOG, at=said.at)
        elif said.exit is None and item in there:
            said = replace(said, detail=artefact.seen)
        elif said.exit is None and _gone(context, identifier, artefact, there, search):
            said = ClosureItem(item=item, exit=Exit.ERASED, detail="is gone", at=now())
        elif _again(context, artefact, said, item in there, search):
            said = blank
        elif said.exit is Exit.UNRELATED:
            if item in there:
                stands = artefact.undecided and _declared(context, artefact, declared)
            else:
                # In a place that is not searched, it must be unchanged since it was declared.
                place = place_of(context, item)
                stands = place is not None and not lies(place)
                stands = stands or _gone(context, identifier, artefact, there, search)
                stands = stands or _declared(context, replace(artefact, path=place), declared)
            said = said if stands else blank
        if item not in there and said.exit is None:
            artefact = replace(artefact, says="was found before, and was not looked into now")
        found.append((artefact, said))
    return tuple(found)


def _gone(
    context: RequestContext,
    identifier: str,
    artefact: Artefact,
    there: Collection[str],
    search: Sequence[Path],
) -> bool:
    """Whether an item that is no longer found is gone: only if the search would have found it."""
    place, roots = place_of(context, artefact.item), looked_into(context, search)
    if place is not None and not lies(place):
        # An item in a folder that is missing may be back with its disk.
        return os.path.isdir(place.parent) or any(root in place.parents for root in roots)
    if artefact.kind.way is Disposal.STATED:
        # The file may be gone while its other name is not: the team has to declare that.
        return False
    if artefact.kind.by_content and not any(item.startswith("rows:") for item in there):
        # Without the rows, only the digests kept of them show whether a copy is gone.
        request = context.store.request(identifier)
        if artefact.kind is KINDS["near"] or not prints_of(context.store, request):
            return False
    return place is None or any(root in (place, *place.parents) for root in roots)


def _lies(context: RequestContext, artefact: Artefact, search: Sequence[Path]) -> bool:
    """Whether an artefact's place holds something found again, or not examined now."""
    place = place_of(context, artefact.item)
    if place is None or not lies(place):
        return False
    roots = looked_into(context, search)
    return artefact.path is not None or not any(root in place.parents for root in roots)


def _marks(context: RequestContext, artefact: Artefact) -> tuple[str, ...]:
    """Keyed digests of an item and the bytes that lie there, under each version of the key.

    None for an item without bytes of its own, unreadable, or changed since it was examined.
    """
    look = artefact.look
    found = None if artefact.path is None else digest_at(artefact.path)
    if found is None or (look is not None and look.digest not in ("", found)):
        return ()
    declaration = f"{artefact.item}\0{found}".encode(errors="surrogateescape")
    return tuple(made.hex() for made in context.store.key.ever_derived(b"declared", declaration))


def _declared(context: RequestContext, artefact: Artefact, declared: Collection[str]) -> bool:
    """Whether an account declared the artefact, as it is now, not to be the person's."""
    return any(mark in declared for mark in _marks(context, artefact))


def _again(
    context: RequestContext,
    artefact: Artefact,
    said: ClosureItem,
    there: bool,
    search: Sequence[Path],
) -> bool:
    """Whether an item that should be gone is found, or lies where the search does not reach."""
    if said.exit is Exit.AWAITING_EXPIRY and said.detail is not None:
        late = date.fromisoformat(said.detail) <= today(context.settings)
        return late and (there or _lies(context, artefact, search))
    if said.exit is not Exit.ERASED or not there or said.item in (*OUTSIDE, UNSEARCHED, ARRAYS):
        return False
    # While a folder is missing, the team's declaration about it stands.
    place = place_of(context, artefact.item)
    return place is None or lies(place)


def settle(
    context: RequestContext,
    identifier: str,
    *,
    erased: Sequence[str] = (),
    whole: Sequence[str] = (),
    done: Mapping[str, str] | None = None,
    unrelated: Mapping[str, str] | None = None,
    by: str | None = None,
    expires: Mapping[str, date] | None = None,
    cannot: Mapping[str, str] | None = None,
    search: Sequence[Path] = (),
) -> tuple[tuple[Artefact, ClosureItem], ...]:
    """Give items their exits; items to erase are erased now, and searched for again.

    Args:
        context: the workspace.
        identifier: the id of a request that was answered.
        erased: items to erase. `all` stands for every open one that lies in the workspace and that
            Olvido wrote, or that holds nothing but the person's rows. An item that may belong to
            others must be named, and is erased only if unchanged since it was last shown.
        whole: items to erase although they hold data of others.
        done: items that somebody erased elsewhere, and how.
        unrelated: files that hold none of the data, and why the team knows: tensors, files of
            others, and unreadable ones. Each is examined now, and the exit holds for its present
            bytes.
        by: the account that declares it.
        expires: items that expire by themselves, and the day.
        cannot: items that stay, and why.
        search: further folders outside the workspace to search.

    Raises:
        UnknownName: no such item.
        InputError: two exits for one item, no reason, a day that is past, or nothing to erase it.
        StateError: rows would be erased that alone identify an open item, or an item was named
            that was never shown or has changed since; then nothing is changed. Or an erased item
            is still there.
    """
    before = {
        artefact.item: (artefact, said)
        for artefact, said in closure(context, identifier, search=search)
    }

    def named(item: str) -> str:
        return item_at(context, item, before)

    erased, whole = list(map(named, erased)), list(map(named, whole))
    done = {named(item): how for item, how in (done or {}).items()}
    expires = {named(item): day for item, day in (expires or {}).items()}
    cannot = {named(item): why for item, why in (cannot or {}).items()}
    unrelated = {named(item): why for item, why in (unrelated or {}).items()}
    if "all" in erased:
        rest = [
            item for item, (a, said) in before.items() if said.exit is None and a.who is Who.ALL
        ]
        given = {*erased, *whole, *done, *expires, *cannot, *unrelated}
        erased = [*(i for i in erased if i != "all"), *(i for i in rest if i not in given)]
    erased = [*erased, *whole]
    wanted = [*erased, *done, *expires, *cannot, *unrelated]
    request = context.store.request(identifier)
    for item in wanted:
        if item not in before:
            raise UnknownName("item of the closure", item, before)
        if wanted.count(item) > 1:
            raise InputError(f"{item} is given two exits: give one")
    for item, why in {**done, **cannot, **unrelated}.items():
        if not why.strip():
            raise InputError(
                f"say of {item} how it was erased, why it cannot be, or why it is not the person's"
            )
        sayable(item, why)
        nameless(context.store, request, why)
    for item in done:
        if _lies(context, before[item][0], search):
            raise StateError(
                f"{item} is said to be erased and still lies there: erase it, or where the data "
                "were taken out of it, have it looked into (",
                ParameterName("search"),
                ")",
            )
    marks: dict[str, str] = {}
    for item in unrelated:
        found = before[item][0]
        if not found.undecided:
            raise InputError(
                f"of {item} nobody can say that it is unrelated ({found.says}): it is erased, ends "
                "by itself, or stays for a reason (",
                ParameterName("cannot"),
                ")",
            )
        if not (made := _marks(context, found)):
            raise InputError(
                f"{item} was not examined now, or cannot be read ({found.says}), and what was not "
                "examined cannot be declared unrelated: have it looked into (",
                ParameterName("search"),
                "), or say how it was erased elsewhere (",
                ParameterName("done"),
                ") or why it stays (",
                ParameterName("cannot"),
                ")",
            )
        marks[item] = made[-1]
    actor = deciding(context, by or "") if unrelated else None
    published = (s for s in request.history if s.status is RequestStatus.PUBLISHED)
    answered = next(published).at.date()
    for item, day in expires.items():
        if day <= today(context.settings):
            raise InputError(f"{item} would have expired on {day}: give a day to come")
        if day > answered + LONGEST:
            raise InputError(
                f"{item} would expire on {day}, more than ten years after the answer on "
                f"{answered}: have it erased earlier, or say why it cannot be"
            )
    shown = {item.item: item.detail for item in context.store.closure(identifier)}
    for item in erased:
        found = before[item][0]
        if found.who is Who.NAMED and found.seen is not None and shown.get(item) != found.seen:
            raise StateError(
                f"{item} was never shown, or has changed since: look at it with 'olvido request "
                f"close {identifier}', then name it again"
            )
    if any(item.partition(":")[0] in _LAST for item in erased):
        left = [
            f"{item} ({artefact.says})"
            for item, (artefact, known) in before.items()
            if artefact.kind.by_content and known.exit is None and item not in wanted
        ]
        if left:
            raise StateError(
                f"by the rows alone is known what has no exit yet: {', '.join(left)}. Look at it "
                f"with 'olvido request close {identifier}', then give each an exit by its name"
            )
    ids = ids_of(context.store, request)
    said = {item: Ending(Exit.ERASED, how, by_word=True) for item, how in done.items()}
    said |= {item: Ending(Exit.AWAITING_EXPIRY, day.isoformat()) for item, day in expires.items()}
    said |= {item: Ending(Exit.CANNOT, why) for item, why in cannot.items()}
    said |= {item: Ending(Exit.UNRELATED, why, by_word=True) for item, why in unrelated.items()}
    # Items in a removed folder, and items with another name, are not found by their path later.
    for item, (artefact, known) in before.items():
        if artefact.kind in _LASTING and known.exit is None:
            said.setdefault(item, Ending(None, artefact.seen))
    for item in unrelated:
        detail = {"id": identifier, "by": actor, "seen": marks[item]}
        context.store.note(DECLARED, detail)
    if said:
        context.store.put_closure(identifier, said)
    if any(item.partition(":")[0] in _LAST for item in erased):
        keep_prints(context, request)
    for item in sorted(dict.fromkeys(erased), key=lambda i: i.partition(":")[0] in _LAST):
        how = erase(context, request, before[item][0], ids, whole=item in whole)
        context.store.put_closure(identifier, {item: Ending(Exit.ERASED, how)})
    if not wanted and not said:
        # Nothing was changed, and a search reads every file of the workspace.
        return tuple(before.values())
    after = closure(context, identifier, search=search)
    for artefact, now_said in after:
        if artefact.item in erased and now_said.exit is None:
            raise StateError(f"{artefact.item} was erased and is there again: who writes it?")
    return after


def close(
    context: RequestContext,
    identifier: str,
    *,
    search: Sequence[Path] = (),
    found: Sequence[tuple[Artefact, ClosureItem]] | None = None,
) -> tuple[Request, tuple[str, ...]]:
    """Close a request if no item is open; return the request and the open items.

    Args:
        context: the workspace.
        identifier: the id of a request that was answered.
        search: further folders outside the workspace to search.
        found: what `settle` or `closure` returned just now; None: all is searched again.

    Raises:
        UnknownName: no such request.
        StateError: its models have not forgotten yet.
    """
    keep_prints(context, _answered(context, identifier))
    if found is None:
        found = closure(context, identifier, search=search)
    blank = tuple(artefact.item for artefact, said in found if said.exit is None)
    request = context.store.request(identifier)
    if request.status is RequestStatus.CLOSED:
        return request, blank
    if blank:
        known = {i.item: i.ending for i in context.store.closure(identifier)}
        # The data map lists an open item before it has its exit, and keeps it when its rows go.
        fresh = {
            a.item: said.ending
            for a, said in found
            if a.item not in known or (said.exit is None and known[a.item] != said.ending)
        }
        if fresh:
            context.store.put_closure(identifier, fresh)
        return request, blank
    context.store.put_closure(identifier, {a.item: said.ending for a, said in found})
    exits = [said.exit for _, said in found]
    counted = {str(exit): exits.count(exit) for exit in Exit}
    return context.store.advance_request(identifier, RequestStatus.CLOSED, counted), ()


def _answered(context: RequestContext, identifier: str) -> Request:
    request = context.store.request(identifier)
    demand_forgetting(request)
    if request.status not in (RequestStatus.PUBLISHED, RequestStatus.CLOSED):
        raise StateError(
            f"request {identifier} is {request.status}: its closure begins when a model that has "
            "forgotten is published"
        )
    return request


def state_exit(
    context: RequestContext, identifier: str, item: str, exit: Exit, said: str, *, by: str
) -> None:
    """Give an item of a closure the exit that the team declares; this erases nothing.

    Args:
        context: the ledger and settings with the request, whose closure is open.
        identifier: the request's id.
        item: an item that has no exit yet.
        exit: it expires by itself, it stays, somebody erased it where Olvido cannot look, or it
            holds none of the data, which is checked now: see `settle`.
        said: the day on which it expires, why it stays, how it was erased, or why the team knows.
        by: the id or label of the account that declares it.

    Raises:
        UnknownName: no such item.
        InputError: it has its exit, the reason is missing or unfit for a certificate, the day is
            past, or Olvido can erase it itself.
        StateError: the request's closure is not open.
    """
    request = context.store.request(identifier)
    if request.status is not RequestStatus.PUBLISHED:
        raise StateError(
            f"request {identifier} is {request.status}: exits are given between publishing and "
            "closing"
        )
    known = {found.item: found for found in context.store.closure(identifier)}
    if item not in known:
        raise UnknownName("item of the closure", item, known)
    if known[item].exit is not None:
        raise InputError(f"{item} has its exit already: {known[item].exit}")
    if exit is Exit.ERASED and KINDS[item.partition(":")[0]].way is not Disposal.STATED:
        raise InputError(
            f"{item} lies where Olvido looks, and is erased there: 'olvido request close "
            f"{identifier} --erase {item}'"
        )
    if exit is Exit.UNRELATED:
        settle(context, identifier, unrelated={item: said}, by=by)
        return
    if not said.strip():
        raise InputError(f"say of {item} how it was erased, until when it lasts, or why it stays")
    sayable(item, said)
    nameless(context.store, request, said)
    if exit is Exit.AWAITING_EXPIRY:
        try:
            late = date.fromisoformat(said) <= today(context.settings)
        except ValueError:
            raise InputError("expected a day as 2026-12-31, got something else") from None
        if late:
            raise InputError(f"{item} would have expired on {said}: give a day to come")
    ending = Ending(exit, said, by_word=exit is Exit.ERASED)
    context.store.put_closure(identifier, {item: ending})
