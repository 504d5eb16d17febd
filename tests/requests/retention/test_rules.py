"""What a rule may say, and the days that its period counts."""

from __future__ import annotations

from calendar import monthrange
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olvido.errors import InputError
from olvido.requests.retention.rules import Hold, Period, read_rules
from olvido.requests.rights.law import Unit
from olvido.settings import Settings

GOOD = 'name = "a"\ndataset = "x"\nkeep = "2 years"\nfrom = "added"\n'


def settings(folder: Path, *tables: str) -> Settings:
    (folder / "olvido.toml").write_text("".join(f"[[retention]]\n{one}\n" for one in tables))
    return Settings.load(folder, environment={})


@pytest.mark.parametrize(
    ("keep", "day", "last"),
    [
        ("1 year", date(2024, 2, 29), date(2025, 2, 28)),
        ("4 years", date(2024, 2, 29), date(2028, 2, 29)),
        ("1 month", date(2027, 1, 31), date(2027, 2, 28)),
        ("90 days", date(2026, 12, 1), date(2027, 3, 1)),
        ("2 weeks", date(2026, 12, 25), date(2027, 1, 8)),
    ],
)
def test_a_period_ends_on_the_calendars_day(
    tmp_path: Path, keep: str, day: date, last: date
) -> None:
    (rule,) = read_rules(settings(tmp_path, GOOD.replace("2 years", keep))).rules
    assert rule.keep is not None
    assert rule.keep.last(day) == last


@given(st.dates(date(1900, 1, 1), date(2200, 1, 1)), st.integers(1, 1200))
def test_months_end_on_the_same_date_or_the_months_last(day: date, months: int) -> None:
    last = Period(months, Unit.CALENDAR_MONTH).last(day)
    assert last is not None
    assert (last.year * 12 + last.month) - (day.year * 12 + day.month) == months
    assert last.day == min(day.day, monthrange(last.year, last.month)[1])
    # What begins later never ends earlier.
    next_ = Period(months, Unit.CALENDAR_MONTH).last(day + timedelta(days=1))
    assert next_ is not None
    assert next_ >= last


@given(st.dates(), st.integers(1, 36600))
def test_days_are_days_and_no_day_breaks_the_calendar(day: date, days: int) -> None:
    last = Period(days, Unit.CALENDAR_DAY).last(day)
    assert last is None if day.year > 9000 else last == day + timedelta(days=days)


def test_a_rule_a_hold_and_their_selections_are_read(tmp_path: Path) -> None:
    hold = 'name = "court"\nfield = "case"\nvalue = 7\nkeep = "on hold"\nwhy = "a trial"\n'
    free = 'name = "free"\nsource = "forum"\nconsent = "granted"\nkeep = "until withdrawn"\n'
    found = read_rules(settings(tmp_path, GOOD, free, f"{hold}until = 2027-01-31\n"))
    assert [rule.name for rule in found.rules] == ["a", "free"]
    assert found.rules[1].keep is None
    assert found.columns == {"case"}
    (held,) = found.holds
    assert isinstance(held, Hold)
    assert [held.lasts(date(2027, 1, 31)), held.lasts(date(2027, 2, 1))] == [True, False]
    assert read_rules(settings(tmp_path)).rules == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace('name = "a"\n', ""), "with a name"),
        (GOOD.replace("2 years", "2 yeers"), "'keep' as"),
        (GOOD.replace("2 years", "0 days"), "'keep' as"),
        (GOOD.replace("2 years", "101 years"), "'keep' as"),
        (GOOD.replace('"2 years"', "2"), "'keep' as"),
        (GOOD.replace('from = "added"\n', ""), "'from' as"),
        (GOOD.replace("2 years", "until withdrawn"), "no 'from'"),
        (GOOD.replace('dataset = "x"\n', ""), "which records"),
        (GOOD.replace('"x"', "[]"), "'dataset' as text"),
        (f'{GOOD}field = "topic"\n', "together"),
        (f'{GOOD}field = "topic"\nvalue = [1]\n', "'value' as"),
        (f'{GOOD}consent = "grnted"\n', "did you mean 'granted'"),
        (f'{GOOD}within = "soon"\n', "'within' as"),
        (f'{GOOD}wihtin = "2 days"\n', "did you mean 'within'"),
        (f"{GOOD}[[retention]]\n{GOOD}", "two retention rules"),
        (GOOD.replace("2 years", "on hold").replace('from = "added"\n', ""), "'why' as"),
        (
            'name = "a"\ndataset = "x"\nkeep = "on hold"\nwhy = "y"\nuntil = "soon"\n',
            "'until' as a day",
        ),
    ],
)
def test_a_wrong_rule_is_one_line_that_names_it(tmp_path: Path, text: str, words: str) -> None:
    wrong = settings(tmp_path, text)
    with pytest.raises(InputError) as refused:
        read_rules(wrong)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["retention = 3\n", 'retention = ["a"]\n', "[retention]\na = 1\n"])
def test_a_setting_that_is_no_list_of_tables_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "olvido.toml").write_text(text)
    with pytest.raises(InputError, match=r"\[\[retention\]\]"):
        Settings.load(tmp_path, environment={})
