"""`olvido request close`: the remaining copies of the data after a request was answered."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from olvido.cli.output import Terminal, command, table
from olvido.cli.requests.intake import Id, day, described, opened_context, show
from olvido.cli.requests.rights import commands
from olvido.errors import InputError

if TYPE_CHECKING:
    from olvido.requests.handlers import RequestContext

__all__ = ["commands"]


def _items(option: str, metavar: str, content: str) -> object:
    return typer.Option(option, metavar=metavar, help=content)


@commands.command()
@command
def close(
    terminal: Terminal,
    identifier: Id,
    erase: Annotated[
        list[str] | None,
        _items("--erase", "ITEM", "Erase it now; 'all': what is Olvido's or the person's alone."),
    ] = None,
    whole: Annotated[
        list[str] | None, _items("--whole", "ITEM", "Remove a file with others' data in it, too.")
    ] = None,
    done: Annotated[
        list[str] | None, _items("--done", "ITEM=HOW", "It was erased elsewhere, and how.")
    ] = None,
    expires: Annotated[
        list[str] | None, _items("--expires", "ITEM=DAY", "It expires by itself on that day.")
    ] = None,
    cannot: Annotated[
        list[str] | None, _items("--cannot", "ITEM=WHY", "It stays, and why.")
    ] = None,
    unrelated: Annotated[
        list[str] | None,
        _items("--unrelated", "ITEM=WHY", "None of the data are in it, and why you know; --by."),
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", help="Whose account says so: see 'olvido token list'.")
    ] = None,
    search: Annotated[
        list[Path] | None, _items("--search", "DIR", "A further folder to search.")
    ] = None,
) -> bool:
    """Show all that still holds the data, give each item its exit, and close when none is open."""
    from olvido.ledger.facts import RequestKind
    from olvido.requests.certificate import issue
    from olvido.requests.closure import close as finish
    from olvido.requests.closure import closure, looked_into, settle
    from olvido.requests.not_learned import concluded
    from olvido.requests.rights.access import close_access

    given = (erase, whole, done, expires, cannot, unrelated, search)
    with opened_context(terminal) as context:
        if context.store.request(identifier).kind is RequestKind.ACCESS:
            if any(given):
                raise InputError(
                    f"request {identifier} is of kind access: nothing is erased for it, so there "
                    "are no exits to give"
                )
            show(terminal, context, close_access(context, identifier), "Closed.")
            return True
        stated = [done or (), expires or (), cannot or (), unrelated or ()]
        known: Collection[str] = ()
        if any(text.count("=") > 1 for texts in stated for text in texts):
            known = {a.item for a, _ in closure(context, identifier, search=search or ())}
        gone, ending, staying, others = (
            dict(_pair(context, text, known) for text in texts) for texts in stated
        )
        found = settle(
            context,
            identifier,
            erased=erase or (),
            whole=whole or (),
            done=gone,
            expires={item: day(text) for item, text in ending.items()},
            cannot=staying,
            unrelated=others,
            by=by,
            search=search or (),
        )
        request, blank = finish(context, identifier, search=search or (), found=found)
        # A certificate with open items is followed by another, now that none is open.
        certificate = None if blank or concluded(request) else issue(context, identifier)
        document = described(request, context.settings)
        looked = looked_into(context, search or ())
    items = [
        {
            "item": a.item,
            "kind": a.kind.name,
            # The exit has a column of its own.
            "is": a.kind.says if a.path is None and said.exit is not None else a.says,
            "holds": sorted(a.kind.holds),
            "who": a.who,
            "exit": said.exit,
            # An open item shows the digest under which it is erased.
            "detail": said.exit and said.detail,
            "by_word": said.by_word,
        }
        for a, said in found
    ]
    rows = [
        (
            *(i[name] for name in ("item", "is", "who")),
            i["exit"] or "BLANK",
            f"the team says: {i['detail']}" if i["by_word"] else i["detail"],
        )
        for i in items
    ]
    places = [str(place) for place in looked]
    ended = f"{len(blank)} without an exit: {', '.join(blank)}" if blank else "Closed."
    ended += f"\nSearched {', '.join(places)}; other places were not searched."
    if certificate is not None:
        ended += f" Certificate: {certificate}"
    terminal.emit(
        document
        | {"closure": items, "blank": list(blank), "looked_into": places}
        | {"certificate": certificate and str(certificate)},
        table(("item", "what it is", "who can erase it", "exit", "detail"), rows),
        ended,
    )
    return not blank


def _pair(context: RequestContext, text: str, known: Collection[str]) -> tuple[str, str]:
    """Split an option into the item and its text; both a path and a reason may have a `=`.

    The item is a known one; of two that would fit, the longer.
    """
    from olvido.requests.closure.places import item_at

    ends = [place for place, character in enumerate(text) if character == "="]
    if not ends:
        raise InputError(f"write an exit as ITEM=..., got {text!r}")
    fits = (end for end in reversed(ends) if item_at(context, text[:end], known) in known)
    end = next(fits, ends[0])
    return text[:end], text[end + 1 :]
