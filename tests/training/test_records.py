"""Records that are read when they are asked for are the records, and few are in memory."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Sequence
from typing import Any

import pytest

from olvido.errors import InputError
from olvido.tasks import Example, examples
from olvido.training.records import Records, by_id, ids_of, joined, leaving, only, records_of


class Rows:
    """Rows that count how often one is read."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self._rows, self.ids = rows, [row["id"] for row in rows]
        self.read = 0

    def __getitem__(self, place: int) -> dict[str, Any]:
        self.read += 1
        return self._rows[place]


def rows(*names: str) -> Rows:
    return Rows([{"id": i, "prompt": f"Who is {i}?", "completion": f"{i}!"} for i in names])


def test_they_are_what_is_read_at_once() -> None:
    one, other = rows("b", "a", "d"), rows("c", "e")
    expected = examples([one[i] for i in range(3)] + [other[i] for i in range(2)])
    found = Records.of(one, other)
    assert (tuple(found), found[1:4:2], found[-1]) == (expected, expected[1:4:2], expected[-1])
    assert list(map(found.by_id.__getitem__, "abcde")) == sorted(expected, key=lambda r: r.id)
    assert dict(found.by_id) == by_id(expected)
    assert pickle.loads(pickle.dumps(found)) == expected
    for kept in ("ae", "", "bd", "abcde"):
        assert tuple(only(found, set(kept))) == only(expected, set(kept))
        assert tuple(leaving(found, set(kept))) == leaving(expected, set(kept))
    with pytest.raises(IndexError):
        found[5]
    for name in ("", "aa", "z"):
        with pytest.raises(KeyError):
            found.by_id[name]


def test_what_is_asked_of_the_ids_reads_no_record() -> None:
    source = rows(*map(str, range(50)))
    found = Records.of(source)
    held = examples([{"id": "x", "text": "Held."}])
    whole = joined(held, leaving(found, {"7"}), only(found, {"7"}))
    assert list(ids_of(whole)) == ["x", *(str(i) for i in range(50) if i != 7), "7"]
    assert records_of(whole) is whole
    assert source.read == 0
    assert (whole[0], whole[-1].id, source.read) == (held[0], "7", 1)
    assert joined(held, examples([{"text": "Other."}])) == (
        *held,
        *examples([{"text": "Other."}]),
    )


def test_an_id_that_stands_twice_is_refused() -> None:
    with pytest.raises(InputError, match="'a' stands twice"):
        Records.of(rows("a", "b"), rows("c", "a"))
    found = Records.of(rows("a", "b"))
    with pytest.raises(InputError, match="'b' stands twice"):
        joined(found, only(found, {"b"}))


def test_a_row_that_is_no_record_is_named() -> None:
    found = Records.of(Rows([{"id": "a", "text": "Fine."}, {"id": "b", "text": " "}]))
    with pytest.raises(InputError, match=r"record 'b'.*empty"):
        list(found)


def test_few_records_are_in_memory_however_many_there_are() -> None:
    found = Records.of(rows(*map(str, range(6_000))))

    def alive() -> int:
        return sum(type(one) is Example for one in gc.get_objects())

    before = alive()
    assert sum(len(record.prompt) for record in found) > 6_000
    assert alive() - before < 2_000
