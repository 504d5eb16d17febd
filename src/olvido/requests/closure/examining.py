"""Find which records some rows contain, and what else: a close look after a first match."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from olvido.requests.copies.contents import GLUE, MARKUP, Content, draws, signs_in
from olvido.requests.copies.escapes import names_in, unescaped
from olvido.requests.copies.parts import FilePart, PartExamination, Row
from olvido.requests.copies.runs import Lexicon, NameFinder, Numbers, Runs
from olvido.requests.copies.views import BESIDE, SAYS, View

_ROLES = frozenset("assistant gpt bot model chatgpt ai".split())
_SYSTEM = frozenset({"system"})


class Examiner:
    """Compares rows with the content of a person's records."""

    def __init__(
        self,
        lexicon: Lexicon,
        runs: Runs,
        names: NameFinder,
        contents: Sequence[Content],
        signs: int = 0,
    ) -> None:
        self.lexicon, self.runs, self.names = lexicon, runs, names
        self._signs = signs
        self.own = frozenset(value for content in contents for value in content.own)
        self.glue = frozenset(lexicon.numbered(GLUE))
        self.roles = frozenset(lexicon.numbered(_ROLES))
        self.system = frozenset(lexicon.numbered(_SYSTEM))
        keys = (lexicon.numbers(key).tolist() for content in contents for key in content.keys)
        self._format = self.glue.union(lexicon.numbered(MARKUP), *keys)

    def variants(self, text: str) -> list[Numbers]:
        """The words of a text; of an escaped one also the words after unescaping."""
        plain = unescaped(text)
        return [self.lexicon.numbers(t) for t in ((text,) if plain == text else (text, plain))]

    def says(self, numbers: Numbers) -> bool:
        """Whether the words have any content."""
        return any(n not in self.glue for n in numbers.tolist())

    def names_her(self, text: str) -> bool:
        """Whether a text contains a form of the person's name."""
        return any(self.names.find(numbers) for numbers in self.variants(text))

    def is_others(self, name: str) -> bool:
        """Whether the name of a column or the like has content that is not the person's."""
        said = self.lexicon.numbers(name)
        left = [n for n in said.tolist() if n not in self.glue]
        if len(left) < 2 or " " not in name.strip():
            return False
        return tuple(said.tolist()) not in self.own and not self.names.find(said)

    def is_format(self, name: str) -> bool:
        """Whether a name belongs to the format, or to a column of the person's own rows."""
        return all(n in self._format for n in self.lexicon.numbers(name).tolist())

    def _names_say(self, names: Collection[str]) -> bool:
        """Whether names of keys, elements or attributes hold content: one with many words, or, in
        markup, many names."""
        for name in names:
            numbers = self.lexicon.numbers(name)
            unknown = numbers[[n not in self._format for n in numbers.tolist()]]
            if self.lexicon.measured(unknown) >= SAYS or signs_in(name) > BESIDE:
                return True
        return False

    def says_beside(self, part: FilePart, rows: Sequence[Row]) -> bool:
        """Whether rows have content besides the words of their values: signs, keys, names of
        elements and attributes. It may belong to others, whatever the words beside it."""
        keys = {name for row in rows for name in (*row.under, *row.keys)}
        if not part.flowing:
            return self._names_say(keys)
        names = names_in("\n".join(cell for row in rows for cell in row.cells))
        unknown = sum(not self.is_format(name) for name in names)
        return unknown > BESIDE or self._names_say(keys | names)

    def _beside_names(self, rows: Sequence[Row]) -> list[Row]:
        """The rows, with each key that names the person added as a value."""
        named: dict[str, bool] = {}
        made = []
        for row in rows:
            keys = dict.fromkeys((*row.under, *row.keys))
            for key in keys.keys() - named.keys():
                named[key] = self.names_her(key)
            more = tuple(key for key in keys if named[key])
            row = replace(row, cells=more + row.cells, keys=("",) * len(more) + row.keys)
            made.append(row)
        return made

    def examine(
        self, part: FilePart, rows: Sequence[Row], low: int, high: int, contents: Sequence[Content]
    ) -> PartExamination:
        """Examine the rows from `low` to `high`; the rows around them are only context."""
        made = PartExamination()
        rows = self._beside_names(rows)
        views = [View(self, part, rows)]
        plain = [replace(r, cells=tuple(map(unescaped, r.cells))) for r in rows]
        if any(a.cells != b.cells for a, b in zip(rows, plain, strict=True)):
            views.append(View(self, part, plain))
        found: set[int] = set()
        mentions = []
        for view in views:
            for content in contents:
                view.place(content)
            mentions.append(
                sum(low <= row < high and not rows[row].again for row in view.named_rows())
            )
            found |= view.found
            for row, ids in view.records:
                if low <= row < high:
                    made.records |= set(ids)
            made.doubtful |= {i for row, ids in view.doubtful if low <= row < high for i in ids}
        made.mentions = max(mentions)
        # The last view has the whole content of the first, with each escape undone.
        left = list(views[-1].left())
        units = {rows[row].unit for row in found}
        bare: list[str] = []
        for row in range(low, high):
            unit = rows[row].unit
            if unit in units:
                made.found.add(unit)
                if rows[row].again:
                    continue
                # A few single values in the row of a record belong to the record.
                if left[row] or any(map(self.is_others, (*rows[row].under, *rows[row].keys))):
                    made.left.add(unit)
            elif left[row] if part.flowing else any(view.says(row) for view in views):
                made.others = True
            elif part.flowing:
                bare += rows[row].cells
        made.others = made.others or draws(bare) or self.says_beside(part, rows[low:high])
        signs = sum(signs_in(cell) for row in rows[low:high] for cell in row.cells)
        made.others = made.others or signs > self._signs + BESIDE
        return made
