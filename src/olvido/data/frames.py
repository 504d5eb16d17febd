"""Tables in memory as rows: DataFrames of pandas, and datasets of Hugging Face.

Neither package is imported: an object of theirs names its own classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from olvido.data.columns import in_words
from olvido.errors import InputError

_MISSING = frozenset({"NAType", "NaTType"})


def rows_of(rows: Iterable[Any], name: str = "rows") -> Iterable[Any]:
    """The rows of a table, by name of column; other iterables pass through.

    None and pandas' missing values (NaN, NaT, NA) are left out. Dates and decimals become text,
    as in Parquet files.

    Args:
        rows: a DataFrame, a `datasets.Dataset` or `IterableDataset`, or any iterable of rows.
        name: its name in an error.

    Raises:
        InputError: several splits, one row or one column in place of rows, or columns without
            names of their own.
    """
    kinds = _kinds(rows)
    if kinds & {"datasets.DatasetDict", "datasets.IterableDatasetDict"}:
        assert isinstance(rows, Mapping)
        raise InputError(f"{name} has several splits ({_named(rows)}): give one split")
    if isinstance(rows, Mapping):
        tables = [value for value in rows.values() if _kinds(value) & _TABLES]
        if tables:
            raise InputError(f"{name} has several splits ({_named(rows)}): give one split")
        raise InputError(f"expected {name} as a list of rows, got one dictionary: put it in a list")
    if kinds & {"pandas.Series", "pandas.Index"}:
        raise InputError(f"expected {name} as a table with named columns, got one column of it")
    if "pandas.DataFrame" in kinds:
        table: Any = rows
        names = list(table.columns)
        if not all(isinstance(one, str) for one in names) or len(set(names)) < len(names):
            raise InputError(
                f"expected the columns of {name} with different names of text: rename them"
            )
        # By columns, so that no column changes its type beside another.
        columns = [table[one].tolist() for one in names]
        return (_present(dict(zip(names, r, strict=True))) for r in zip(*columns, strict=True))
    if kinds & _TABLES:
        return map(_present, rows)
    return rows


_TABLES = frozenset({"pandas.DataFrame", "datasets.Dataset", "datasets.IterableDataset"})


def _kinds(value: object) -> frozenset[str]:
    """The classes of an object and their bases, each by its package and name."""
    return frozenset(
        f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(value).__mro__
    )


def _named(splits: Mapping[Any, Any]) -> str:
    return ", ".join(map(str, splits))


def _present(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in row.items() if not _missing(value)}


def _missing(value: object) -> bool:
    unequal = isinstance(value, float) and value != value
    return value is None or unequal or type(value).__name__ in _MISSING


def _plain(value: Any) -> Any:
    """A value without the arrays of objects in which Parquet's lists come to pandas."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [_plain(one) for one in value]
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return in_words(value)
