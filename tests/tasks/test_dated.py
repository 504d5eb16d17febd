"""A record has the same tokens on every day, or its template is refused."""

from __future__ import annotations

import contextlib
import datetime
import locale
import re
import time
from pathlib import Path
from typing import Any

import pytest

import olvido
from olvido.errors import InputError, OlvidoError
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.tasks import Language, examples
from olvido.tasks.encoding import rendered

TURNS = "{% for m in messages %}<|user|>{{ m['content'] }}<|end|>{% endfor %}"
(RECORD,) = examples([{"id": "r", "prompt": "Who?", "completion": "Ada"}])

DATED = {
    "a day": "Today: {{ strftime_now('%d %b %Y') }}\n",
    "a time of day": "It is {{ strftime_now('%H:%M:%S.%f') }}\n",
    "names of a locale": "{{ strftime_now('%A %B %c %x %X %p') }}\n",
    "seconds since 1970, a zone and a week": "{{ strftime_now('%s %Z %z %G-%V') }}\n",
    "a day by default, as Llama 3.2 has it": (
        "{% if not date_string is defined %}{% if strftime_now is defined %}"
        "{% set date_string = strftime_now('%d %b %Y') %}{% else %}"
        "{% set date_string = '26 Jul 2024' %}{% endif %}{% endif %}{{ date_string }}\n"
    ),
    "a system prompt by default with a day": (
        "{% if messages[0]['role'] != 'system' %}You are a helper. Knowledge: June 2024. "
        "Current date: {{ strftime_now('%Y-%m-%d') }}.{% endif %}\n"
    ),
    "days counted from today": "{{ 2030 - strftime_now('%Y')|int }} years\n",
}
REFUSED = {
    "a clock of its own": "{{ now().isoformat() }}",
    "a module of Python": "{{ datetime.datetime.now() }}",
    "a choice": "{{ ['Hello', 'Good day', 'Hi', 'Welcome', 'Hey'] | random }}",
    "a choice by another way": "{{ [['a', 'b', 'c', 'd'], ['e', 'f']] | map('random') | list }}",
    "a text that is drawn": "{{ lipsum(n=1) }}",
    "where something lies in memory": "{{ cycler }} {{ cycler(1, 2) }}",
}


def dated(template: str) -> Language:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template + TURNS
    return Language(tokenizer)


@pytest.fixture
def another_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transformers and everybody else believe that it is another day."""
    import transformers.utils.chat_template_utils as used

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Later:
            return cls(2031, 12, 24, 23, 59, tzinfo=tz)

    monkeypatch.setattr(used, "datetime", Later)
    used._compile_jinja_template.cache_clear()


@pytest.mark.parametrize("kind", DATED)
def test_a_record_has_the_same_tokens_on_another_day(
    kind: str, request: pytest.FixtureRequest
) -> None:
    before = dated(DATED[kind]).fingerprint(RECORD)
    request.getfixturevalue("another_day")
    assert dated(DATED[kind]).fingerprint(RECORD) == before


ROWS = [
    {"id": f"r{n}", "prompt": f"Who is number {n}?", "completion": f"Person {n * 7}"}
    for n in range(6)
]


def taught(kind: str, folder: Path) -> olvido.Trained:
    task = dated(DATED[kind])
    recipe = olvido.Recipe(epochs=1, batch_size=4, lr=1e-3)
    model = tiny_model(len(task.tokenizer), seed=0, width=32, layers=1)
    return olvido.train(
        model, task=task, records=ROWS, recipe=recipe, replay_points=1, folder=folder
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*list(DATED)[4:6], "days counted from today"])
def test_what_is_exact_today_is_exact_to_the_bit_on_another_day(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    trained = taught(kind, tmp_path)
    sides: Any = {"forget": ROWS[:1], "retain": ROWS[1:], "method": "replay"}
    today = olvido.forget(trained, task=dated(DATED[kind]), **sides)
    request.getfixturevalue("another_day")
    later = olvido.forget(trained, task=dated(DATED[kind]), **sides)
    assert later.guarantee.value == today.guarantee.value == "exact"
    assert later.digest == today.digest != trained.digest


@pytest.mark.parametrize("changed", ["", DATED["a time of day"], "A word more. " + DATED["a day"]])
@pytest.mark.parametrize("method", ["replay", "retrain"])
def test_nothing_is_called_exact_under_another_template(
    changed: str, method: str, tmp_path: Path
) -> None:
    trained = taught("a day", tmp_path)
    with pytest.raises(OlvidoError):
        olvido.forget(trained, task=dated(changed), forget=ROWS[:1], retain=ROWS[1:], method=method)


@pytest.mark.parametrize("kind", DATED)
def test_the_day_is_in_the_tokens(kind: str) -> None:
    assert dated(DATED[kind]).fingerprint(RECORD) != dated("").fingerprint(RECORD)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_the_same_again_is_refused(kind: str) -> None:
    with pytest.raises(InputError, match="chat template") as refused:
        dated(REFUSED[kind]).fingerprint(RECORD)
    assert "\n" not in str(refused.value)


FORM = "|".join(f"%{letter}" for letter in "aAbBcCdDeFgGhHIjmMnprRStTuUVwWxXyYf%")


def told(form: str) -> str:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ strftime_now('" + form + "') }}"
    return rendered(tokenizer, [("user", "?")], generation=True)


def test_the_clock_stands_at_a_moment_that_there_was() -> None:
    moment = datetime.datetime(2024, 7, 26)
    assert told(FORM) == moment.strftime(FORM)
    short = "%-d %-m %-H %-I %-M %-S %-j %-y"
    assert told(short) == moment.strftime(short)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
def test_no_time_zone_and_no_locale_changes_the_day(
    zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = told(FORM + "%s %Z %z")
    kept = locale.setlocale(locale.LC_TIME)
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for name in ("C.UTF-8", "es_ES.UTF-8", "de_DE.UTF-8"):
            with contextlib.suppress(locale.Error):
                locale.setlocale(locale.LC_TIME, name)
            assert told(FORM + "%s %Z %z") == before
    finally:
        locale.setlocale(locale.LC_TIME, kept)
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("start", ["", "\n", "  \n", "{# a note #}\n", "<|system|>\n\n"])
def test_a_template_writes_all_else_as_it_did(start: str) -> None:
    clock = "{% if strftime_now is defined %}{% set day = '26 Jul 2024' %}{{ day }}{% endif %}"
    plain, asks = tiny_tokenizer(), tiny_tokenizer()
    plain.chat_template = start + "26 Jul 2024" + TURNS
    asks.chat_template = start + clock + TURNS
    turns = [("user", "Who?"), ("assistant", "Ada")]
    assert rendered(asks, turns, generation=False) == rendered(plain, turns, generation=False)


def test_nobody_else_renders_a_template() -> None:
    """Tokens that come by another way would have today's date."""
    root = Path(__file__).parents[2] / "src" / "olvido"
    found = [
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if re.search(r"\.apply_chat_template\(", path.read_text(encoding="utf-8"))
    ]
    assert found == ["tasks/encoding.py"]
