"""A comparison as a table: CSV, Markdown, LaTeX, or a pandas DataFrame."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from olvido.benchmark.table import MEANS, flat
from olvido.errors import InputError
from olvido.extras import extra
from olvido.files import write

if TYPE_CHECKING:
    import pandas


class _Found(Protocol):
    """A result that can be exported as tables."""

    @property
    def document(self) -> Mapping[str, Any]:
        """The comparison as plain values."""
        ...


class Tables:
    """Export of a comparison's rows in the formats of papers and notebooks."""

    def rows(self: _Found) -> list[dict[str, Any]]:
        """A dictionary for each row, with plain values: see `olvido.benchmark.table.COLUMNS`."""
        return flat(self.document["rows"])

    def to_csv(self: _Found) -> str:
        """All columns, comma-separated."""
        rows = flat(self.document["rows"])
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def to_markdown(self: _Found) -> str:
        """A table for people, with mean and half of the interval in each cell."""
        header, *body = _shown(self.document["rows"])
        lines = [header, ["---", *["---:"] * (len(header) - 1)], *body]
        return "".join(
            f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines
        )

    def to_latex(self: _Found) -> str:
        """A LaTeX table, with the rules of the package booktabs."""
        header, *body = _shown(self.document["rows"])
        lines = [" & ".join(map(_latex, line)) + r" \\" for line in (header, *body)]
        return "\n".join(
            [
                rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
                r"\toprule",
                lines[0],
                r"\midrule",
                *lines[1:],
                r"\bottomrule",
                r"\end{tabular}",
                "",
            ]
        )

    def to_dataframe(self: _Found) -> pandas.DataFrame:
        """All columns, one row a method.

        Raises:
            MissingExtra: pandas is not installed; `to_csv` does without it.
        """
        with extra("pandas"):
            import pandas
        return pandas.DataFrame(flat(self.document["rows"]))

    def write_table(self: _Found, path: Path | str) -> None:
        """Write the table in the format of the file's suffix: .csv, .md or .tex.

        Raises:
            InputError: it has another suffix.
        """
        write(Path(path), form_of(path)(self))


_FORMS: dict[str, Callable[[Any], str]] = {
    ".csv": Tables.to_csv,
    ".md": Tables.to_markdown,
    ".tex": Tables.to_latex,
}


def form_of(path: Path | str) -> Callable[[Any], str]:
    """The function that makes a table in the format of a file's suffix.

    Raises:
        InputError: the suffix is none of .csv, .md, .tex.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMS:
        raise InputError(
            f"{path} names no form of a table: end it with {', '.join(_FORMS)} (a DataFrame is "
            "to_dataframe(), in Python)"
        )
    return _FORMS[suffix]


def _shown(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Header and body; columns without any measurement are left out."""
    own = list(dict.fromkeys(name for row in rows for name in row["metrics"]))

    def value(row: Mapping[str, Any], name: str) -> Any:
        return row[name] if name in MEANS else row["metrics"].get(name)

    names = [n for n in (*MEANS, *own) if any(value(row, n) for row in rows)]
    body = [
        [row["method"], f"{row['passed']}/{row['runs']}"]
        + [_cell(value(row, name)) for name in names]
        for row in rows
    ]
    return [["method", "passed", *(name.replace("_", " ") for name in names)], *body]


def _cell(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return ""
    interval = value["interval"]
    half = "" if interval is None else f" ± {(interval[1] - interval[0]) / 2:.3g}"
    return f"{value['mean']:.3f}{half}"


def _latex(text: str) -> str:
    for sign in "&%#_{}$":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("±", r"$\pm$")
