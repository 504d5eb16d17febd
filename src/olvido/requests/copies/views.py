"""View rows as words: find the records in them, and their other content."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from olvido.names import fold
from olvido.requests.copies.contents import Content
from olvido.requests.copies.parts import FilePart, Row, cells_of
from olvido.requests.copies.runs import TOKEN, Numbers

if TYPE_CHECKING:
    from olvido.requests.closure.examining import Examiner

_SUBJECT = frozenset("subject subjects data_subject person people patient author".split())
_ABOUT = _SUBJECT | frozenset(
    ("client", "customer", "name", "fullname", "full_name", "full name", "owner")
)
_GAP = 24
SAYS = 4
"""The number of words from which a value counts as content; fewer are a short value."""
BESIDE = 4
"""The number of short values that belong to a record: of words, and of numbers."""
_SUBJECT_ID = re.compile(r"\s*hmac-sha256:v")


class View:
    """The words of some rows, and what was found in them."""

    def __init__(self, examiner: Examiner, part: FilePart, rows: Sequence[Row]) -> None:
        self._by, self._part, self._rows = examiner, part, rows
        cells = [(r, c) for r, row in enumerate(rows) for c in cells_of(part, row)]
        numbered = [examiner.lexicon.numbers(text) for _, text in cells]
        self._row_of_cell = [row for row, _ in cells]
        self._begins = np.cumsum([0, *(len(n) for n in numbered)]).tolist()
        self._numbers: Numbers = np.concatenate([np.zeros(0, dtype=np.int64), *numbered])
        self._texts = [text for _, text in cells]
        self._cells_of_row: dict[int, range] = {}
        for cell, row in enumerate(self._row_of_cell):
            known = self._cells_of_row.get(row)
            self._cells_of_row[row] = range(known.start if known else cell, cell + 1)
        self._covered = np.zeros(len(self._numbers), dtype=np.bool_)
        self.found: set[int] = set()
        self.records: list[tuple[int, tuple[str, ...]]] = []
        self.doubtful: list[tuple[int, tuple[str, ...]]] = []
        self._where: dict[int, list[int]] = {}
        places, which = examiner.runs.find(self._numbers)
        for place, run in sorted(zip(places.tolist(), which.tolist(), strict=True)):
            self._where.setdefault(run, []).append(place)
        self._named = [
            (at, width)
            for at, width in examiner.names.find(self._numbers)
            if part.flowing or self._row(at) == self._row(at + width - 1)
        ]
        self._named_begins = [at for at, _ in self._named]
        self._tokens: dict[int, tuple[list[int], list[int]]] = {}

    def named_rows(self) -> Iterator[int]:
        """The row in which each mention begins; overlapping forms are one mention."""
        until = 0
        for at, width in self._named:
            if at >= until:
                yield self._row(at)
            until = max(until, at + width)

    def place(self, content: Content) -> None:
        """Find each place with a whole content, and mark it."""
        runs = [(run, len(self._by.runs.runs[run])) for run in content.runs]
        for spans in self._pairs(runs, content) if len(runs) == 2 else self._singles(*runs[0]):
            first, last = self._row(spans[0][0]), self._row(spans[-1][0] + spans[-1][1] - 1)
            first, last = min(first, last), max(first, last)
            if not content.strong and not self._is_distinctive(spans, first, last):
                continue
            if self._contradicted(content, first, last):
                self.doubtful.append((first, content.ids))
                continue
            self.records.append((first, content.ids))
            self.found.update(range(first, last + 1))
            begin, end = min(a for a, _ in spans), max(a + n for a, n in spans)
            if first == last or self._part.flowing:
                for at, count in spans:
                    self._covered[at : at + count] = True
            if all(n in self._by.glue for n in self._gap(spans)):
                self._covered[begin:end] = True

    def _gap(self, spans: Sequence[tuple[int, int]]) -> list[int]:
        ordered = sorted(spans)
        if len(ordered) < 2:
            return []
        return self._numbers[ordered[0][0] + ordered[0][1] : ordered[1][0]].tolist()

    def _singles(self, run: int, count: int) -> Iterator[tuple[tuple[int, int], ...]]:
        for at in self._where.get(run, ()):
            if self._part.flowing or self._row(at) == self._row(at + count - 1):
                yield ((at, count),)

    def _pairs(
        self, runs: Sequence[tuple[int, int]], content: Content
    ) -> Iterator[tuple[tuple[int, int], ...]]:
        (one, many), (other, more) = runs
        firsts, seconds = self._where.get(one, []), self._where.get(other, [])
        for at in firsts:
            index = bisect_left(seconds, at + many)
            if index < len(seconds) and self._follows(at, many, seconds[index], more, content):
                yield (at, many), (seconds[index], more)
        by_row: dict[int, list[int]] = {}
        for at in seconds:
            by_row.setdefault(self._row(at), []).append(at)
        for at in firsts:
            row = self._row(at)
            for to in by_row.get(row, ()):
                if self._cell(at) != self._cell(to) and self._alone(
                    row, ((at, many), (to, more)), content
                ):
                    yield (at, many), (to, more)

    def _follows(self, at: int, many: int, to: int, more: int, content: Content) -> bool:
        """Whether the second run follows the first, with only the words of programs between."""
        if self._part.aside and self._row(at) != self._row(to + more - 1):
            # Without a reader that separates rows, the next line may be another row's.
            return False
        gap = self._numbers[at + many : to].tolist()
        if len(gap) > _GAP or not all(self._is_glue(n) for n in gap):
            return False
        if self._part.flowing or self._cell(at) == self._cell(to + more - 1):
            return not self._goes_on(to + more, content.stopped)
        if self._row(at) == self._row(to + more - 1):
            return self._whole(to, more) and at + many == self._begins[self._cell(at) + 1]
        # Messages of a conversation, one a row: the answer has its role.
        said = any(n in self._by.roles for n in gap)
        return said and self._whole(at, many) and self._whole(to, more)

    def _goes_on(self, end: int, stopped: bool) -> bool:
        """Whether a sentence goes on after these words, so that they are not a whole answer.

        Where the person's own answer ends with a stop, another one has to.
        """
        if end >= len(self._numbers):
            return False
        before, cell = self._cell(end - 1), self._cell(end)
        if before != cell:
            lines = self._row_of_cell[cell] - self._row_of_cell[before]
            if not self._part.flowing or lines != 1:
                return False
            text = self._texts[before].rstrip()
            next_one = self._texts[cell].lstrip()[:1]
            return _is_open(text) and (next_one.isalnum() if stopped else next_one.islower())
        # The end of each token in words, and its offset in the text: once for each cell.
        if cell not in self._tokens:
            tokens = list(TOKEN.finditer(self._texts[cell]))
            sizes = [len(self._by.lexicon.numbers(token[0])) for token in tokens]
            self._tokens[cell] = list(accumulate(sizes)), [token.start() for token in tokens]
        ends, starts = self._tokens[cell]
        at = bisect_right(ends, end - self._begins[cell])
        if at == len(ends):
            return False
        return _is_open(self._texts[cell][max(0, starts[at] - 100) : starts[at]])

    def _alone(self, row: int, spans: Sequence[tuple[int, int]], content: Content) -> bool:
        """Whether both are values of one row without other content."""
        if not all(self._whole(*span) for span in spans):
            return False
        taken = {self._cell(at) for at, _ in spans}
        return not any(
            self._is_content(cell) for cell in self._cells_of_row[row] if cell not in taken
        )

    def _is_distinctive(self, spans: Sequence[tuple[int, int]], first: int, last: int) -> bool:
        """Whether the spans are whole values, beside the person's name."""
        if not all(self._whole(*span) or self._whole_lines(*span) for span in spans):
            return False
        begin = self._begins[self._cells_of_row[first].start]
        end = self._begins[self._cells_of_row[last].stop]
        for number in range(bisect_left(self._named_begins, begin), len(self._named)):
            at, width = self._named[number]
            if at + width > end:
                break
            # Beside the texts only a whole name counts: others may have a part of it.
            beside = self._whole(at, width) and self._by.names.is_whole(
                self._numbers[at : at + width]
            )
            if beside or any(a <= at and at + width <= a + n for a, n in spans):
                return True
        return False

    def _contradicted(self, content: Content, first: int, last: int) -> bool:
        """Whether the rows name somebody else as their subject."""
        for row in range(first, last + 1):
            keys = self._rows[row].keys
            for key, cell in zip(keys, self._cells_of_row[row], strict=False):
                if key.lower() not in _ABOUT:
                    continue
                begin, end = self._begins[cell], self._begins[cell + 1]
                said = tuple(self._numbers[begin:end].tolist())
                if len(said) < (1 if key.lower() in _SUBJECT else 2):
                    continue
                if said in content.own or any(begin <= at < end for at, _ in self._named):
                    return False
                return (
                    bool(self._by.names.widths) or _SUBJECT_ID.match(self._texts[cell]) is not None
                )
        return False

    def left(self) -> Iterator[bool]:
        """For each row, whether it has content that is not the person's."""
        for row in range(len(self._rows)):
            cells = self._cells_of_row.get(row, range(0))
            first = row == 0 or self._rows[row - 1].unit != self._rows[row].unit
            if self._part.flowing or not (first or self._is_covered(cells)):
                yield not self._is_system(cells) and self._left_in_line(cells)
            else:
                # A few short values beside a record, or before those of an object, belong to it.
                yield any(self._left_in(cell) for cell in cells) or self._is_crowded(row, cells)

    def _is_covered(self, cells: range) -> bool:
        return bool(self._covered[self._begins[cells.start] : self._begins[cells.stop]].any())

    def says(self, row: int) -> bool:
        """Whether a row has any content, in words or signs."""
        return any(self._texts[cell].strip() for cell in self._cells_of_row.get(row, range(0)))

    def _left_in_line(self, cells: range) -> bool:
        if not cells:
            return False
        begin, end = self._begins[cells.start], self._begins[cells.stop]
        rest = self._numbers[begin:end][~self._theirs(begin, end)].tolist()
        left = [n for n in rest if n not in self._by.glue]
        counted = [n for n in left if self._by.lexicon.words[n].isdigit()]
        covered = bool(self._covered[begin:end].any())
        return len(left) > (len(counted) if covered and len(counted) <= BESIDE else 0)

    def _theirs(self, begin: int, end: int) -> NDArray[np.bool_]:
        """Mark the person's words: of a record, of the name, of another value of the row."""
        free = self._covered[begin:end].copy()
        for number in range(bisect_left(self._named_begins, begin - 20), len(self._named)):
            at, width = self._named[number]
            if at >= end:
                break
            free[max(at - begin, 0) : max(at + width - begin, 0)] = True
        for cell in range(bisect_right(self._begins, begin) - 1, len(self._begins) - 1):
            if self._begins[cell] >= end:
                break
            a, b = self._begins[cell], self._begins[cell + 1]
            if free[max(a - begin, 0) : b - begin].any() or not free.any():
                continue
            if tuple(self._numbers[a:b].tolist()) in self._by.own:
                free[max(a - begin, 0) : b - begin] = True
        return free

    def _left_in(self, cell: int) -> bool:
        begin, end = self._begins[cell], self._begins[cell + 1]
        covered = int(self._covered[begin:end].sum())
        if covered:
            rest = self._numbers[begin:end][~self._covered[begin:end]].tolist()
            return not all(self._is_glue(n) for n in rest)
        return self._is_content(cell)

    def _is_crowded(self, row: int, cells: range) -> bool:
        """Whether a row has more than a few short values, words or numbers, that are not the
        person's."""
        said = [self._numbers[self._begins[c] : self._begins[c + 1]] for c in cells]
        # For an empty value its key counts.
        keys = (
            self._rows[row].keys if len(self._rows[row].keys) == len(cells) else ("",) * len(cells)
        )
        empty = [
            key
            for key, cell in zip(keys, cells, strict=True)
            if not self._texts[cell].strip() and not self._by.is_format(key)
        ]
        beside = [
            all(map(self._is_glue, numbers.tolist()))
            for cell, numbers in zip(cells, said, strict=True)
            if len(numbers)
            and not self._covered[self._begins[cell] : self._begins[cell + 1]].any()
            and tuple(numbers.tolist()) not in self._by.own
            and not self._by.names.is_whole(numbers)
        ]
        return beside.count(False) + len(empty) > BESIDE or beside.count(True) > BESIDE

    def _is_content(self, cell: int) -> bool:
        """Whether a cell has content of its own, and is not a value of the person's own row."""
        begin, end = self._begins[cell], self._begins[cell + 1]
        if begin == end:
            return len(self._texts[cell].strip()) > BESIDE
        if self._by.lexicon.measured(self._numbers[begin:end]) < SAYS and not self._texts[
            cell
        ].rstrip().endswith(("?", "？")):
            return False
        said = self._numbers[begin:end]
        return tuple(said.tolist()) not in self._by.own and not self._by.names.is_whole(said)

    def _is_system(self, cells: range) -> bool:
        """Whether a message is a system prompt, which belongs to nobody."""
        return not self._part.flowing and any(
            end - begin == 1 and int(self._numbers[begin]) in self._by.system
            for begin, end in ((self._begins[c], self._begins[c + 1]) for c in cells)
        )

    def _is_glue(self, number: int) -> bool:
        return number in self._by.glue or any(c.isdigit() for c in self._by.lexicon.words[number])

    def _cell(self, at: int) -> int:
        return bisect_right(self._begins, at) - 1

    def _row(self, at: int) -> int:
        return self._row_of_cell[self._cell(at)]

    def _whole(self, at: int, count: int) -> bool:
        """Whether these words are a whole cell, or whole consecutive cells of a row."""
        begin = self._cell(at)
        return (
            self._begins[begin] == at
            and self._begins[bisect_left(self._begins, at + count)] == at + count
            and self._row(at) == self._row(at + count - 1)
        )

    def _whole_lines(self, at: int, count: int) -> bool:
        """Whether these words are one or more whole lines, without marks and numbers."""
        if not self._part.flowing:
            return False
        first, last = self._row(at), self._row(at + count - 1)
        before = self._numbers[self._begins[self._cells_of_row[first].start] : at]
        after = self._numbers[at + count : self._begins[self._cells_of_row[last].stop]]
        return all(self._is_glue(n) for n in [*before.tolist(), *after.tolist()])


def _is_open(text: str) -> bool:
    """Whether a sentence goes on after this text: no stop, bracket, quote or tab ends it."""
    end = text[-40:].rstrip(" ")
    last = fold(end)[-1:]
    return not end.endswith(("\t", "\n")) and (last.isalnum() or last in (",", "-"))
