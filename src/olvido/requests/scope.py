"""What a request is about, found in the ledger.

Whom a request is about: one person under one name or several, found by keyed digests.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from olvido.errors import InputError, ParameterName
from olvido.ledger.facts import HistoryEntry, Model, Record, Request, RequestKind
from olvido.ledger.identity import Key, Named, SubjectId
from olvido.ledger.lineage import Lineage
from olvido.ledger.personal import holds_number
from olvido.ledger.rows import stored_rows, subjects_of, text_of
from olvido.ledger.store import Store
from olvido.names import name_forms, words
from olvido.reporting.words import several

_LONGEST_WORD = 60
_DEEP = 3
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,200}>")
_HANGUL = re.compile(r"[\uac00-\ud7a3]{3,}")


def lineage_of(store: Store, request: Request) -> Lineage:
    """The records a request is about, their datasets, and how every model stands to them.

    Raises:
        InputError: it is about a model, not about records.
    """
    if request.kind is RequestKind.RECTIFICATION:
        # In the versions that were there, and in the one of which the corrected one was made.
        made_of = [step.detail["corrected"]["from"] for step in corrections(request)]
        wanted = dict.fromkeys(made_of, request.scope["records"]) | request.scope["versions"]
        return store.lineage_of_facts(wanted, *request.subjects)
    if request.subjects:
        return store.lineage(*request.subjects)
    if "source" in request.scope:
        return store.lineage_of_source(request.scope["source"])
    if "records" in request.scope:
        return store.lineage_of_records(request.scope["dataset"], request.scope["records"])
    raise InputError(f"request {request.id} is about no record: nothing can be located")


def corrections(request: Request) -> tuple[HistoryEntry, ...]:
    """The steps by which what is right was entered for a rectification; one, or none yet."""
    return tuple(step for step in request.history if "corrected" in step.detail)


def spelt(key: Key, *names: str) -> dict[str, Any]:
    """What a request keeps of a person's names while they are in clear, to find what names them.

    Returns:
        `names` are digests of runs of words (`Key.names`), `whole` those of them that have all of
        one of the names, `near` those of loose forms to look for, in hexadecimal digits
        (`Key.near`); none of a name that came as a digest. `unsearched` is how many names texts
        cannot be searched for: those of one word, and those that came as a digest alone.
    """
    clear = [name for name in names if not SubjectId.is_one(name)]
    spelt_out = {key.subject(name) for name in clear if name_forms(name)}
    every = {key.subject(name) for name in clear}
    every |= {SubjectId.from_str(key.current(name)) for name in names if name not in clear}
    return {
        "unsearched": len(every - spelt_out),
        "names": sorted({form for name in clear for form in key.names(name)}),
        "whole": sorted({form for name in clear for form in key.whole_names(name)}),
        "near": sorted({form.hex() for name in clear for form in key.near(name)}),
    }


def names_of(request: Request) -> frozenset[str]:
    """Digests of the runs of words under which texts name the person of a request."""
    return kept(request, "names")


def kept(request: Request, what: str) -> frozenset[str]:
    """What a request keeps of the names of its person: `names`, `whole` or `near` of `spelt`."""
    return frozenset(form for step in request.history for form in step.detail.get(what, ()))


def unsearched(request: Request) -> int:
    """How many names of the person of a request no text can be searched for."""
    return max((step.detail.get("unsearched", 0) for step in request.history), default=0)


def unsearched_note(count: int) -> str:
    """What is to be said of names that texts cannot be searched for; empty where there is none.

    >>> unsearched_note(2)[:46]
    '2 names of the person cannot be searched for i'
    """
    names = "1 name" if count == 1 else f"{count} names"
    if not count:
        return ""
    return (
        f"{names} of the person cannot be searched for in texts (one word, or given by digest "
        "alone): search for what names them by hand, or enter a request with the whole name in "
        "clear"
    )


def near_subjects(store: Store, request: Request) -> dict[SubjectId, tuple[Record, ...]]:
    """Records of subjects whose names may be another spelling of the person's."""
    found = store.near([bytes.fromhex(form) for form in kept(request, "near")])
    return {who: some for who, some in found.items() if who not in request.subjects}


def mentions(store: Store, data: Path, request: Request) -> dict[str, list[str]]:
    """Ids of records that name the person of a request and are not about them, by dataset.

    Rows that were taken out of their files cannot be looked into.

    Raises:
        StateError: a file of rows is missing or damaged.
    """
    named, about = Named(store.key, names_of(request)), set(map(str, request.subjects))
    found: dict[str, list[str]] = {}
    for dataset in store.datasets() if about and names_of(request) else ():
        ids = [
            row["id"]
            for row in stored_rows(data / dataset.file)
            if about.isdisjoint(subjects_of(row, store.key)) and named.in_text(text_of(row))
        ]
        if ids:
            found[dataset.id] = sorted(ids)
    return found


def models_to_delete(store: Store, request: Request) -> tuple[Model, ...]:
    """The model that a request wants destroyed, and all that descend from it, so far as they last.

    A model made by exact forgetting or by a further training descends from it too: it was made from
    its weights.
    """
    gone = {request.scope["model"]}
    for model in store.models():
        if gone & set(model.parents):
            gone.add(model.id)
    return tuple(m for m in store.models() if m.id in gone and m.tombstone is None)


def nameless(store: Store, request: Request, text: str) -> None:
    """Refuse a text that would be kept, where it names somebody.

    Told are the person of the request, by every name that was given: whole, shortened as texts
    shorten names, of one word, written as one word or escaped; and e-mail addresses, telephone and
    national numbers and accounts.

    Raises:
        InputError: it does, or it is no Unicode.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError("this text is no Unicode: write it anew") from None
    readings = {text, *_unescaped(text)}
    if any(_names(store.key, request, said) for said in readings):
        raise InputError(
            "this text names the person of the request, and it would be kept: say 'the person'"
        )
    if any(map(holds_number, readings)):
        raise InputError(
            "an address or a number of a person stands in this text, and it would be kept: leave "
            "it out"
        )


def _names(key: Key, request: Request, text: str) -> bool:
    named = Named(key, names_of(request))
    if named.in_text(text):
        return True
    joined = ("".join(words(token)) for token in text.split())
    said = {word for word in (*words(text), *joined) if 1 < len(word) <= _LONGEST_WORD}
    if any(key.subject(bare) in request.subjects for word in said for bare in _bare(word)):
        return True
    return any(named.in_text(f"{w[:a]} {w[a:b]} {w[b:]}") for w in said for a, b in _cuts(len(w)))


def _unescaped(text: str) -> Iterator[str]:
    """What a text says to who reads it as HTML or as a URL, however often it was escaped."""
    for _ in range(_DEEP):
        text = unquote(html.unescape(text).replace("+", " "))
        yield text
        yield _TAG.sub("", text)
        yield _TAG.sub(" ", text)


def _bare(word: str) -> set[str]:
    """A word, and what is left of it without a counter, an English s, or a Korean particle."""
    found = {word, word.rstrip("0123456789")}
    if len(word) > 3 and word.isascii() and word.endswith("s"):
        found.add(word[:-1])
    if _HANGUL.fullmatch(word):
        found |= {word[:-1], word[:-2]}
    return found - {""}


def _cuts(length: int) -> Iterator[tuple[int, int]]:
    """Where to cut a word of so many letters in two, or in three."""
    return combinations(range(1, length + 1), 2)


MOST = 50
"""Names of one person."""


@dataclass(frozen=True, slots=True)
class Person:
    """The names of a person, while they are in clear.

    Attributes:
        subjects: their digests, the first name's first; spellings that are one stand once.
        counts: how many records each name that was given finds, those of each version of a dataset.
        apart: the same, with those that stand in several versions of a dataset counted once.
        near: records of subjects whose names are near one of these and are none of them.
    """

    subjects: tuple[SubjectId, ...]
    counts: Mapping[str, int]
    apart: Mapping[str, int]
    near: Mapping[SubjectId, tuple[Record, ...]]

    def described(self, name: str) -> str:
        """How many records a name finds, in words; versions of a dataset repeat most of theirs.

        >>> Person((), {"Ana": 50}, {"Ana": 25}, {}).described("Ana")
        '25 records (50, counted in every version of their datasets)'
        """
        every, once = self.counts[name], self.apart[name]
        if every == once:
            return several(once, "record")
        return f"{several(once, 'record')} ({every:,}, counted in every version of their datasets)"


class NobodyFound(InputError):
    """No record is about a person; `near` has records of subjects with names near theirs."""

    def __init__(self, near: Mapping[SubjectId, tuple[Record, ...]]) -> None:
        super().__init__(
            "no record in any dataset is about this subject: check how the name is written in the "
            "data's subject column. To answer that nothing is held, enter it so: ",
            ParameterName("nothing_found"),
        )
        self.near = near


def look_up(store: Store, names: Sequence[str]) -> Person:
    """Look for a person under all their names: as the data writes them, or digests.

    Raises:
        InputError: there are too many, or one is no name.
    """
    if len(names) > MOST:
        raise InputError(f"expected at most {MOST} names of one person, got {len(names)}")
    found: dict[SubjectId, tuple[int, int]] = {}
    counts: dict[str, int] = {}
    apart: dict[str, int] = {}
    names_of = {dataset.id: dataset.name for dataset in store.datasets()}
    forms: set[bytes] = set()
    for name in names:
        if SubjectId.is_one(name):
            who = SubjectId.from_str(store.key.current(str(SubjectId.from_str(name))))
        else:
            who = store.key.subject(name)
            forms |= store.key.near(name)
        if who not in found:
            records = store.records_of(who)
            found[who] = len(records), len({(names_of[r.dataset], r.id) for r in records})
        counts[name], apart[name] = found[who]
    near = {who: some for who, some in store.near(forms).items() if who not in found and some}
    return Person(tuple(found), counts, apart, near)


def demand(person: Person, *, nothing_found: bool) -> None:
    """Refuse to enter a request about somebody who is in no data, or is, unlike it is said.

    Raises:
        NobodyFound: no record is about any of the names.
        InputError: there are some, and it is said that there are none.
    """
    known = any(person.counts.values())
    if not known and not nothing_found:
        raise NobodyFound(person.near)
    if known and nothing_found:
        raise InputError(
            "there are records about this subject: enter it without ",
            ParameterName("nothing_found"),
        )
