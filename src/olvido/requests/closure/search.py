"""Find copies of a person's records, and mentions of the person's name, in any file.

A copy is a whole record: a text, or a prompt and its completion, all their words in their order, as
`olvido.names` writes them. A prompt and its completion have to belong together: one after the
other with nothing between but what programs put there, or in one row that says nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from olvido.requests.closure.examining import Examiner
from olvido.requests.copies.contents import Content, contents_of, draws, leaves, signs_in
from olvido.requests.copies.parts import BROKEN, FilePart, PartExamination, Row, UnreadablePart
from olvido.requests.copies.reading import Source, parts_of
from olvido.requests.copies.runs import NameFinder, NameKey, Runs

_WINDOW = 1_000_000
_LISTED = 20


@dataclass(frozen=True, slots=True)
class Cut:
    """The units of one part that are the person's, by their numbers."""

    part: str
    form: str
    units: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FileFindings:
    """What was found of a person in one file.

    Attributes:
        path: the file.
        records: ids of the records that it contains whole.
        mentions: the number of places with a form of the name.
        others: whether it holds anything that is not the person's; None if unknown.
        places: where the records are.
        evidence: what was found, in a line without a word of the rows.
        rewritable: whether `without` can write the file without the records.
        unread: why the file, or a part of it, was not read; None where all of it was.
        doubtful: ids of records that it contains whole beside somebody else's name.
    """

    path: Path
    records: tuple[str, ...] = ()
    mentions: int = 0
    others: bool | None = False
    places: tuple[str, ...] = ()
    evidence: str = "nothing of the person was found"
    rewritable: bool = False
    unread: str | None = None
    doubtful: tuple[str, ...] = ()
    cuts: tuple[Cut, ...] = field(default=(), repr=False)
    digest: str = field(default="", repr=False)


class CopySearch:
    """Searches files for one person's records.

    Args:
        rows: the person's records, with `id`, `text` or `prompt` and `completion`, and their other
            columns: the other values of a row are the person's too.
        key: digests runs of words (`Key.name`).
        names: keyed digests of the forms of the person's names.
        whole: the digests among them that cover a whole name (`Key.whole_names`).
        common: counts the records of other people with a content (see `content_of`): a shared
            content counts only beside the name. Without it, no content is taken to be shared.
    """

    def __init__(
        self,
        rows: Sequence[Mapping[str, Any]],
        *,
        key: NameKey,
        names: Collection[str] = (),
        whole: Collection[str] = (),
        common: Callable[[str], int] | None = None,
    ) -> None:
        lexicon, runs, self._contents = contents_of(rows, common)
        self._lexicon = lexicon
        self._runs = Runs(runs, lexicon.known)
        self._names = NameFinder(key, names, lexicon, whole)
        signs = sum(signs_in(leaf) for row in rows for leaf in leaves(row))
        self._examiner = Examiner(lexicon, self._runs, self._names, self._contents, signs)
        longest = [sum(len(runs[r]) for r in content.runs) for content in self._contents]
        # Characters that a record may take, with the marks that programs put between its words.
        self._reach = 24 * max(longest, default=0) + 2000
        # Every content once, under the longest of its runs.
        self._under: dict[int, list[Content]] = {}
        for content in self._contents:
            rarest = max(content.runs, key=lambda run: len(runs[run]))
            self._under.setdefault(rarest, []).append(content)

    def names_her(self, text: str) -> bool:
        """Whether a text contains a form of the person's name."""
        return self._examiner.names_her(text)

    def look(self, path: Path) -> FileFindings:
        """Search one file for the person's records. No file makes it raise."""
        found = _Found()
        source = Source(path)
        try:
            with source:
                for part in parts_of(source):
                    if isinstance(part, UnreadablePart):
                        found.unread.append(str(part))
                        continue
                    try:
                        self._search(part, found)
                    except UnreadablePart as error:
                        found.unread.append(str(error))
                    except BROKEN as error:
                        found.unread.append(_because(part, error))
                source.check()
        except UnreadablePart as error:
            found.unread.append(str(error))
        except BROKEN as error:
            found.unread.append(f"could not be read ({type(error).__name__})")
        return found.look(path, source.digest)

    def _search(self, part: FilePart, found: _Found) -> None:
        """Search one part, window by window; each row is judged once."""
        tally = _Tally(part)
        rows: list[Row] = []
        sizes: list[int] = []
        low = 0
        size = 0
        try:
            for row in part.rows:
                rows.append(row)
                sizes.append(sum(map(len, row.cells)) + 1)
                size += sizes[-1]
                if size >= _WINDOW + 2 * self._reach:
                    high = len(rows) - _reaching(reversed(sizes), self._reach)
                    if high > low:
                        self._examine(part, rows, low, high, tally)
                        kept = max(high - _reaching(reversed(sizes[:high]), self._reach), 0)
                        rows, sizes, low = rows[kept:], sizes[kept:], high - kept
                        size = sum(sizes)
            self._examine(part, rows, low, len(rows), tally)
        finally:
            found.add(tally)

    def _examine(self, part: FilePart, rows: list[Row], low: int, high: int, tally: _Tally) -> None:
        self._lexicon.forget()
        # Text aside of the rows belongs to nobody, except names with content.
        aside, judged = part.aside, part.aside and not part.flowing
        keys = {name for row in rows for name in (*row.under, *row.keys)}
        joined = "\n".join(cell for row in rows for cell in row.cells)
        seen = self._examiner.variants(joined)
        possible: set[int] = set()
        named = self._examiner.names_her("\n".join(keys))
        for numbers in seen:
            _, which = self._runs.find(numbers)
            present = set(np.unique(which).tolist())
            here = bool(self._names.find(numbers))
            named = named or here
            possible |= {
                id(content)
                for run in present & self._under.keys()
                for content in self._under[run]
                if present.issuperset(content.runs)
            }
        contents = [c for c in self._contents if id(c) in possible and (c.strong or named)]
        if not contents and not named:
            tally.others = tally.others or (
                not aside
                and (
                    any(self._examiner.says(n) for n in seen)
                    or draws(joined.split("\n"))
                    or self._examiner.says_beside(part, rows[low:])
                )
            )
            tally.count(rows, low, high)
        else:
            made = self._examiner.examine(part, rows, low, high, contents)
            made.others = made.others and not aside
            tally.take(made, rows, low, high)
        if judged:
            names = (cell for row in rows[low:high] for cell in row.cells)
            tally.others = tally.others or any(map(self._examiner.is_others, names))


class _Tally:
    """Collects what was found in one part."""

    def __init__(self, part: FilePart) -> None:
        self.part = part
        self.records: set[str] = set()
        self.doubtful: set[str] = set()
        self.mentions = 0
        self.others = False
        self.found: set[int] = set()
        self.left: set[int] = set()
        self.last = 0
        self.sure: set[str] = set()
        self.cut = part.form is not None

    def count(self, rows: Sequence[Row], low: int, high: int) -> None:
        self.last = max([self.last, *(row.unit for row in rows[low:high])])

    def take(self, seen: PartExamination, rows: Sequence[Row], low: int, high: int) -> None:
        self.count(rows, low, high)
        self.records |= seen.records
        self.sure |= seen.records
        self.doubtful |= seen.doubtful
        self.mentions += seen.mentions
        self.found |= seen.found
        self.left |= seen.left
        self.others = self.others or seen.others

    def merge(self, again: _Tally) -> None:
        """Add the findings of another reading of the same part."""
        self.records |= again.records
        self.doubtful |= again.doubtful
        self.mentions = max(self.mentions, again.mentions)
        self.others = self.others or (again.part.within and (again.others or bool(again.left)))
        if again.records - self.sure:
            # Its units are numbered differently: they can be named, not removed.
            self.cut = False
            if not self.found:
                self.part, self.found, self.last = again.part, again.found, again.last


class _Found:
    """Collects what was found in one file."""

    def __init__(self) -> None:
        self.unread: list[str] = []
        self.parts: list[_Tally] = []
        self.rows: _Tally | None = None

    def add(self, tally: _Tally) -> None:
        part = tally.part
        if self.rows is not None and (part.again or part.within) and not part.aside:
            self.rows.merge(tally)
            return
        self.parts.append(tally)
        if not part.aside:
            self.rows = tally

    def look(self, path: Path, digest: str) -> FileFindings:
        rows = [part for part in self.parts if not part.part.aside]
        aside = [part for part in self.parts if part.part.aside]
        # Text aside of the rows may repeat a row that was read already.
        known = {i for part in rows for i in part.records | part.doubtful}
        records = sorted(
            {i for part in rows for i in part.records}
            | ({i for part in aside for i in part.records} - known)
        )
        doubtful = sorted({i for part in self.parts for i in part.doubtful} - set(records))
        fresh = [part for part in aside if part.records - known]
        mentions = max(sum(p.mentions for p in rows), *(p.mentions for p in aside), 0)
        holding = [part for part in (*rows, *fresh) if part.found]
        places = tuple(_place(part) for part in holding)
        others: bool | None = bool(fresh) or any(p.others or p.left for p in rows)
        others = others or any(part.others for part in aside)
        if self.unread and not others:
            others = None
        cuts = tuple(
            Cut(part.part.name, part.part.form, tuple(sorted(part.found)))
            for part in holding
            if part.part.form is not None and part.cut
        )
        rewritable = bool(holding) and not self.unread and len(cuts) == len(holding)
        rewritable = rewritable and not any(part.found & part.left for part in holding)
        return FileFindings(
            path=path,
            records=tuple(records),
            mentions=mentions,
            others=others,
            places=places,
            evidence=_evidence(records, doubtful, mentions, places),
            rewritable=rewritable,
            unread=_joined(self.unread),
            doubtful=tuple(doubtful),
            cuts=cuts,
            digest=digest,
        )


def _reaching(sizes: Iterable[int], reach: int) -> int:
    """The number of rows that make up so many characters."""
    total = count = 0
    for size in sizes:
        total, count = total + size, count + 1
        if total >= reach:
            break
    return count


def _place(tally: _Tally) -> str:
    units = sorted(tally.found)
    noun = tally.part.noun + ("s" if len(units) > 1 else "")
    spans: list[list[int]] = []
    for unit in units:
        if spans and unit == spans[-1][1] + 1:
            spans[-1][1] = unit
        else:
            spans.append([unit, unit])
    said = [str(a) if a == b else f"{a} to {b}" for a, b in spans[:_LISTED]]
    more = len(spans) > _LISTED
    listed = ", ".join(said if more or len(said) < 2 else said[:-1])
    listed += " and more" if more else f" and {said[-1]}" if len(said) > 1 else ""
    where = f"{tally.part.name}: " if tally.part.name else ""
    return f"{where}{noun} {listed} of {tally.last}"


def _evidence(
    records: Sequence[str], doubtful: Sequence[str], mentions: int, places: Sequence[str]
) -> str:
    said = []
    if records:
        said.append(f"{_many(len(records), 'whole record')} in {'; '.join(places[:5])}")
    if doubtful:
        said.append(f"{_many(len(doubtful), 'record')} beside another name")
    if mentions:
        said.append(f"the name in {_many(mentions, 'place')}")
    return ", ".join(said) or "nothing of the person was found"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count != 1 else ''}"


def _because(part: FilePart, error: BaseException) -> str:
    where = f"{part.name}: " if part.name else ""
    return f"{where}could not be read ({type(error).__name__})"


def _joined(reasons: Sequence[str]) -> str | None:
    different = list(dict.fromkeys(reasons))
    if not different:
        return None
    more = f"; and {len(different) - 5} more" if len(different) > 5 else ""
    return "; ".join(different[:5]) + more
