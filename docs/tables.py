"""Write the docs' tables of methods, audits, learners and tasks from the classes themselves.

    python docs/tables.py           # rewrite them
    python docs/tables.py --check   # end with 1 where a page has another table than it should

A page holds a table between the lines `<!-- table: NAME -->` and `<!-- end of table -->`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from olvido.audits import AUDITS, tolerances
from olvido.benchmark.table import COLUMNS
from olvido.learners import LEARNERS
from olvido.methods import METHODS, REGULARISERS
from olvido.tasks import TASKS

DOCS = Path(__file__).parent
BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.S)
RANGES = {id(r): name for name, r in vars(tolerances).items() if isinstance(r, tolerances.Range)}
"""Names of tolerances. Two may have the same numbers for reasons of their own."""


def methods() -> Iterator[tuple[str, ...]]:
    yield "name", "guarantee", "loss on the forget set", "made for", "needs", "source"
    for name in METHODS.built_in:
        kind = METHODS[name]
        needs = ", ".join(sorted(need.value for need in kind.needs))
        yield f"`{name}`", kind.guarantee.value, kind.loss, kind.suits, needs, kind.source


def regularisers() -> Iterator[tuple[str, ...]]:
    yield "regulariser", "holds", "source"
    for name in REGULARISERS.built_in:
        yield f"`{name}`", REGULARISERS[name].holds, REGULARISERS[name].source
    yield "`none`", "nothing", ""


def audits() -> Iterator[tuple[str, ...]]:
    yield "name", "what it asks", "source", "level", "needs", "required", "tolerance"
    for name in AUDITS.built_in:
        kind = AUDITS[name]
        held = dict.fromkeys(f"`{RANGES[id(r)]}`" for r in kind.tolerances.values())
        yield (
            f"`{name}`",
            kind.summary,
            kind.source,
            kind.level.name.lower(),
            ", ".join(sorted(need.value for need in kind.needs)),
            "yes" if kind.required else "",
            ", ".join(held),
        )


def learners() -> Iterator[tuple[str, ...]]:
    yield "name", "what it does", "options"
    for name in LEARNERS.built_in:
        options = ", ".join(f"`{option}`" for option in LEARNERS.options(name))
        yield f"`{name}`", LEARNERS[name].summary, options


def tasks() -> Iterator[tuple[str, ...]]:
    yield "name", "records", "class"
    for name in TASKS.built_in:
        yield f"`{name}`", TASKS[name].summary, f"`olvido.tasks.{TASKS[name].__name__}`"


def comparison() -> Iterator[tuple[str, ...]]:
    yield "column", "says"
    for name, says in COLUMNS.items():
        yield f"`{name}`", says


TABLES: dict[str, Callable[[], Iterable[tuple[str, ...]]]] = {
    table.__name__: table for table in (methods, regularisers, audits, learners, tasks, comparison)
}


def markdown(rows: Iterable[tuple[str, ...]]) -> str:
    """A table; a bar within a cell does not end it."""
    header, *body = rows
    lines = [header, ("---",) * len(header), *body]
    joined = (" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines)
    return "".join(f"| {line} |\n" for line in joined)


def written(page: str) -> str:
    """A page with its tables as they should be."""
    return BLOCK.sub(lambda m: f"{m[1]}{markdown(TABLES[m[2]]())}{m[3]}", page)


def main(check: bool) -> int:
    """Rewrite the pages, or name those that are not as they should be."""
    stale = []
    for path in sorted(DOCS.rglob("*.md")):
        page = path.read_text("utf-8")
        if (fresh := written(page)) != page:
            stale.append(str(path.relative_to(DOCS)))
            if not check:
                path.write_text(fresh, "utf-8")
    if check and stale:
        print(f"other tables than the classes say: {', '.join(stale)}: run python docs/tables.py")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
