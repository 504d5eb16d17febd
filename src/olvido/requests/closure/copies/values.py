"""Values out of JSON, Parquet and the like as rows of cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from olvido.folding import words
from olvido.requests.closure.copies.contents import GLUE
from olvido.requests.closure.copies.parts import Row, Unreadable

_QUESTION = 400
"""Characters that a question has with what stands beside it, where its answer lies deeper."""

Cells = tuple[tuple[str, ...], tuple[str, ...]]


def value_rows(value: Any, unit: int, deepest: int = 200, *, above: Cells = ((), ())) -> list[Row]:
    """The rows of a value out of JSON: an object's own values make one, its lists of objects more.

    Columns of equal length are read across. Lists of single values, and objects of nothing else,
    belong to the object that they stand in. What may belong together in another way is read again:
    columns beside other values, and an object in a list with the values of what the list stands in.

    >>> [row.cells for row in value_rows({"prompt": ["a", "b"], "completion": ["c", "d"]}, 1)]
    [('a', 'c'), ('b', 'd')]
    >>> [row.cells for row in value_rows({"step": 5, "prompt": ["a"], "completion": ["c"]}, 1)]
    [('5', 'a', 'c'), ('a', 'c')]

    Args:
        value: the value.
        unit: what its rows are numbered by.
        deepest: levels that are read.
        above: keys and cells of the object that it stands in.

    Raises:
        Unreadable: deeper than `deepest` levels.
    """
    rows: list[Row] = []
    again: list[Row] = []
    todo: list[tuple[Any, int, tuple[str, ...], Cells]] = [(value, 0, (), above)]
    while todo:
        here, depth, under, around = todo.pop()
        if depth > deepest:
            raise Unreadable(f"values lie within values, more than {deepest} deep")
        if isinstance(here, Mapping):
            across = _across(here)
            if across is not None:
                rows += [Row(unit, cells, keys, under) for keys, cells in across]
                continue
            if any(_tells(key) for key in here):
                # What maps questions to answers has its texts in the keys.
                for key, item in here.items():
                    if _single(item):
                        rows.append(Row(unit, (str(key), _text(item)), under=under))
                    else:
                        rows.append(Row(unit, (str(key),), under=under))
                        todo.append((item, depth + 1, (*under, str(key)), around))
                continue
            keys, cells, names, deeper = own_values(here)
            if cells or not deeper:
                named = names if cells else map(str, here)
                rows.append(Row(unit, tuple(cells), tuple(keys), (*under, *named)))
            again += _again(here, unit, under, _beside(around, keys, cells))
            around = _beside(around, keys, cells, below=True)
            todo += [(item, depth + 1, (*under, key), around) for key, item in reversed(deeper)]
        elif isinstance(here, list | tuple):
            if all(_single(item) for item in here):
                if here:
                    texts = tuple(_text(item) for item in here if item is not None)
                    rows.append(Row(unit, texts, under=under))
            else:
                todo += [(item, depth + 1, under, around) for item in reversed(here)]
        elif here is not None:
            rows.append(Row(unit, (_text(here),), under=under))
    return rows + again


def _beside(
    around: Cells, keys: Sequence[str], cells: Sequence[str], *, below: bool = False
) -> Cells:
    """Cells of an object after those of what it stands in, the nearest of them: as many as cost
    no more than a few times what the object has, or, for what lies below it, a question does."""
    size = _QUESTION if below else 4 * sum(map(len, cells)) + _QUESTION
    if below:
        around = (*around[0], *keys), (*around[1], *cells)
    start = len(around[1])
    while start and (size := size - len(around[1][start - 1])) >= 0:
        start -= 1
    said = around[1][start:]
    if below:
        return around[0][start:], said
    # A number or a role says nothing that somebody asks.
    if not cells or not any(cell.count(" ") >= 2 for cell in said):
        return (), ()
    return (*around[0][start:], *keys), (*said, *cells)


def _again(
    value: Mapping[str, Any], unit: int, under: tuple[str, ...], beside: Cells
) -> Iterator[Row]:
    """What of an object is read once more: with what is around it, and each table of columns."""
    if beside[1]:
        yield Row(unit, beside[1], beside[0], under, again=True)
    inner = [item for item in value.values() if not _single(item)]
    for here in (value, *(item for item in inner if isinstance(item, Mapping))) if inner else ():
        tables: dict[object, dict[str, Sequence[Any]]] = {}
        for name, column in here.items():
            shape = tuple(column) if isinstance(column, Mapping) else len(_listed(column))
            column = _listed(column)
            if column and isinstance(column[0], str) and all(map(_single, column)):
                tables.setdefault(shape, {})[str(name)] = column
        for columns in tables.values():
            if len(columns) > 1:
                for items in zip(*columns.values(), strict=True):
                    cells = tuple("" if item is None else _text(item) for item in items)
                    yield Row(unit, cells, tuple(columns), under, again=True)


def _listed(value: Any) -> Sequence[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list | tuple) else ()


def own_values(
    value: Mapping[str, Any],
) -> tuple[list[str], list[str], list[str], list[tuple[str, Any]]]:
    """Keys and texts of an object's own values, keys of the objects that they stand in, and what
    lies deeper, with its key."""
    keys: list[str] = []
    cells: list[str] = []
    above: list[str] = []
    deeper: list[tuple[str, Any]] = []
    apart = _are_rows(value)
    for key, item in value.items():
        if isinstance(item, Mapping):
            if apart:
                deeper.append((str(key), item))
                continue
            above.append(str(key))
        inner = item.items() if isinstance(item, Mapping) else ((key, item),)
        flat = [
            (str(name), single)
            for name, found in inner
            for single in (found if isinstance(found, list | tuple) else (found,))
        ]
        if all(_single(single) for _, single in flat):
            # What has no value has a name all the same.
            for name, single in flat or [(str(key), None)]:
                keys.append(name)
                cells.append("" if single is None else _text(single))
        else:
            deeper.append((str(key), item))
    return keys, cells, above, deeper


def _are_rows(value: Mapping[str, Any]) -> bool:
    """Whether the objects in an object are rows of one table, each under what tells it."""
    inner = [(key, item) for key, item in value.items() if isinstance(item, Mapping)]
    return (
        len(inner) > 1
        and any(not inner[0][1].keys().isdisjoint(item) for _, item in inner[1:])
        and not all(word in GLUE for key, _ in inner for word in words(str(key)))
    )


def _across(value: Mapping[str, Any]) -> list[tuple[tuple[str, ...], tuple[str, ...]]] | None:
    """The rows of an object of columns; None where it is none."""
    columns: list[Sequence[Any]] = []
    names: list[str] = []
    for name, column in value.items():
        if isinstance(column, Mapping):
            if columns and len(column) != len(columns[0]):
                return None
            if list(column) != [str(i) for i in range(len(column))]:
                return None
            column = list(column.values())
        if not isinstance(column, list | tuple) or not column:
            return None
        if not all(_single(item) for item in column):
            return None
        names.append(str(name))
        columns.append(column)
    if len(columns) < 2 or len({len(column) for column in columns}) != 1:
        return None
    rows = []
    for items in zip(*columns, strict=True):
        kept = [
            (name, _text(item)) for name, item in zip(names, items, strict=True) if item is not None
        ]
        rows.append((tuple(name for name, _ in kept), tuple(text for _, text in kept)))
    return rows


def _single(value: Any) -> bool:
    return not isinstance(value, Mapping | list | tuple)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return str(value)


def _tells(key: Any) -> bool:
    text = str(key)
    return text.endswith("?") or text.count(" ") >= 2
