"""Find in the ledger what a request is about: records, or a person under one name or several.

Persons are found by keyed digests of their names.
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
        # In the versions at the time of the request, and in the one that was corrected.
        made_of = [step.detail["corrected"]["from"] for step in corrections(request)]
        wanted = dict.fromkeys(made_of, request.scope["records"]) | request.scope["versions"]
        return store.lineage_of_facts(wanted, *request.subjects)
    if request.kind is RequestKind.RETENTION:
        return store.lineage_of_facts(request.scope["versions"])
    if request.subjects:
        return store.lineage(*request.subjects)
    if "source" in request.scope:
        return store.lineage_of_source(request.scope["source"])
    if "records" in request.scope:
        return store.lineage_of_records(request.scope["dataset"], request.scope["records"])
    raise InputError(f"request {request.id} is about no record: nothing can be located")


def corrections(request: Request) -> tuple[HistoryEntry, ...]:
    """The step by which the corrected rows of a rectification were entered; none yet, or one."""
    return tuple(step for step in request.history if "corrected" in step.detail)


def spelt(key: Key, *names: str) -> dict[str, Any]:
    """Digest a person's names, given in clear, for finding texts that name the person.

    Returns:
        `names` are digests of runs of words (`Key.names`), `whole` those of them that cover a
        whole name, `near` digests of loose forms to search for, in hexadecimal digits
        (`Key.near`); a name that came as a digest has none. `unsearched` is the number of names
        that texts cannot be searched for: those of one word, and those that came as a digest.
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
    """Digests of the runs of words by which texts name the person of a request."""
    return kept(request, "names")


def kept(request: Request, what: str) -> frozenset[str]:
    """The digests of the person's names that a request keeps: one entry of `spelt`."""
    return frozenset(form for step in request.history for form in step.detail.get(what, ()))


def unsearched(request: Request) -> int:
    """The number of names of a request's person that texts cannot be searched for."""
    return max((step.detail.get("unsearched", 0) for step in request.history), default=0)


def unsearched_note(count: int) -> str:
    """A sentence about names that texts cannot be searched for; empty where there is none.

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

    Rows that were erased from their files cannot be searched.

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
    """The model that a request wants destroyed, its existing descendants, and all models with the
    same weights.

    A model made by exact forgetting or by further training is a descendant too: it was made from
    the model's weights.
    """
    gone = {request.scope["model"]}
    same = {model.digest for model in store.models() if model.id in gone}
    for model in store.models():
        if gone & set(model.parents) or model.digest in same:
            gone.add(model.id)
    return tuple(m for m in store.models() if m.id in gone and m.tombstone is None)


def nameless(store: Store, request: Request, text: str) -> None:
    """Refuse a text that would be kept, if it names somebody.

    It detects the person of the request by every name that was given: whole, shortened as texts
    shorten names, of one word, written as one word or escaped; and e-mail addresses, telephone and
    national numbers and accounts.

    Raises:
        InputError: it names somebody, or is no Unicode.
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
    """A text read as HTML and as a URL, however often it was escaped."""
    for _ in range(_DEEP):
        text = unquote(html.unescape(text).replace("+", " "))
        yield text
        yield _TAG.sub("", text)
        yield _TAG.sub(" ", text)


def _bare(word: str) -> set[str]:
    """A word, and the word without a counter, an English s, or a Korean particle."""
    found = {word, word.rstrip("0123456789")}
    if len(word) > 3 and word.isascii() and word.endswith("s"):
        found.add(word[:-1])
    if _HANGUL.fullmatch(word):
        found |= {word[:-1], word[:-2]}
    return found - {""}


def _cuts(length: int) -> Iterator[tuple[int, int]]:
    """The places at which to cut a word of this length in two, or in three."""
    return combinations(range(1, length + 1), 2)


MOST = 50
"""The greatest number of names of one person."""


@dataclass(frozen=True, slots=True)
class Person:
    """The names of a person in clear, and the records that they find.

    Attributes:
        subjects: the digests of the names, the first name's first; equal spellings only once.
        counts: the number of records that each name finds, counted in each version of a dataset.
        apart: the same number, counting a record once for all versions of a dataset.
        near: records of other subjects whose names are near one of these.
    """

    subjects: tuple[SubjectId, ...]
    counts: Mapping[str, int]
    apart: Mapping[str, int]
    near: Mapping[SubjectId, tuple[Record, ...]]

    def described(self, name: str) -> str:
        """The number of records that a name finds, in words; versions repeat most of theirs.

        >>> Person((), {"Ana": 50}, {"Ana": 25}, {}).described("Ana")
        '25 records (50, counted in every version of their datasets)'
        """
        every, once = self.counts[name], self.apart[name]
        if every == once:
            return several(once, "record")
        return f"{several(once, 'record')} ({every:,}, counted in every version of their datasets)"


class NobodyFound(InputError):
    """Raised where no record is about a person; `near` has records of subjects with near names."""

    def __init__(self, near: Mapping[SubjectId, tuple[Record, ...]]) -> None:
        super().__init__(
            "no record in any dataset is about this subject: check how the name is written in the "
            "data's subject column. To answer that nothing is held, enter it so: ",
            ParameterName("nothing_found"),
        )
        self.near = near


def look_up(store: Store, names: Sequence[str]) -> Person:
    """Find a person under all their names: as the data writes them, or digests.

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
    """Refuse a request about somebody who is in no data, or whose presence contradicts its claim.

    Raises:
        NobodyFound: no record is about any of the names.
        InputError: there are records, although `nothing_found` says that there are none.
    """
    known = any(person.counts.values())
    if not known and not nothing_found:
        raise NobodyFound(person.near)
    if known and nothing_found:
        raise InputError(
            "there are records about this subject: enter it without ",
            ParameterName("nothing_found"),
        )
