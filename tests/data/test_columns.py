"""Arrow's types come out as values of JSON that this page states, or are refused by name."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from olvido.data import read_rows
from olvido.errors import BadRow, InputError

DAY, MOMENT = dt.date(2025, 3, 31), dt.datetime(2025, 7, 31, 10, 0, 5)
MADRID = MOMENT.replace(tzinfo=ZoneInfo("Europe/Madrid"))

STATED = [
    (pa.array([DAY]), "2025-03-31"),
    (pa.array([DAY], pa.date64()), "2025-03-31"),
    (pa.array([MOMENT]), "2025-07-31T10:00:05"),
    (pa.array([MOMENT], pa.timestamp("s")), "2025-07-31T10:00:05"),
    (pa.array([MOMENT], pa.timestamp("ns", "UTC")), "2025-07-31T10:00:05+00:00"),
    (pa.array([MADRID], pa.timestamp("us", "Europe/Madrid")), "2025-07-31T10:00:05+02:00"),
    (pa.array([1], pa.timestamp("ns")), "1970-01-01T00:00:00.000000001"),
    (pa.array([dt.time(1, 2, 3)]), "01:02:03"),
    (pa.array([Decimal("12.30")]), "12.30"),
    (pa.array([Decimal("-0.0000001")], pa.decimal128(20, 7)), "-0.0000001"),
    (pa.array([{"seen": MOMENT, "tags": ["a"]}]), {"seen": "2025-07-31T10:00:05", "tags": ["a"]}),
    (pa.array([{"who": [{"born": DAY}, None]}]), {"who": [{"born": "2025-03-31"}, None]}),
    (pa.array([[DAY, None]]), ["2025-03-31", None]),
    (pa.array([[Decimal("1.50")]]), ["1.50"]),
    (pa.array([[DAY]], pa.large_list(pa.date32())), ["2025-03-31"]),
    (pa.array([[DAY]], pa.list_(pa.date32(), 1)), ["2025-03-31"]),
    (pa.array([DAY]).dictionary_encode(), "2025-03-31"),
    (pa.array(["a"]).dictionary_encode(), "a"),
    (pa.array(["a"], pa.large_string()), "a"),
    (pa.array(["a"], pa.string_view()), "a"),
    (pa.array([None], pa.null()), None),
    (pa.array([1.5], pa.float16()), 1.5),
    (pa.array([2**64 - 1], pa.uint64()), 2**64 - 1),
    (pa.array([True]), True),
]

REFUSED = [
    (pa.array([b"x"]), "binary"),
    (pa.array([b"x"], pa.large_binary()), "large_binary"),
    (pa.array([b"xy"], pa.binary(2)), "fixed_size_binary"),
    (pa.array([dt.timedelta(1)]), "duration"),
    (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "map<"),
    (pa.array([[b"x"]]), "binary"),
    (pa.array([[{"bytes": b"x"}]]), "binary"),
]


@pytest.mark.parametrize(("column", "value"), STATED, ids=[str(c.type) for c, _ in STATED])
def test_a_type_of_arrow_becomes_the_stated_value(
    tmp_path: Path, column: Any, value: object
) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["x"], "meta": column}), path)
    ((_, row),) = read_rows(path)
    assert row == {"text": "x", "meta": value}
    assert json.loads(json.dumps(row)) == row


@pytest.mark.parametrize(("column", "kind"), REFUSED, ids=[str(c.type) for c, _ in REFUSED])
def test_a_type_that_json_has_no_form_for_is_refused_by_column_and_type(
    tmp_path: Path, column: Any, kind: str
) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["x"], "meta": column}), path)
    with pytest.raises(InputError, match=r"'meta[.a-z]*' holds values of the type") as caught:
        list(read_rows(path))
    assert kind in str(caught.value)


def test_a_moment_after_every_calendar_is_one_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    seen = pa.array([0, 2**53, 1000], pa.timestamp("ms"))
    pq.write_table(pa.table({"seen": seen}), path)
    rows = [row for _, row in read_rows(path)]
    assert [isinstance(row, BadRow) for row in rows] == [False, True, False]
    assert rows[2] == {"seen": "1970-01-01T00:00:01"}
