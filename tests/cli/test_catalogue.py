"""`olvido methods`, `audits` and `learners` show what the tables hold."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
import typer

from olvido.artifacts import KINDS
from olvido.audits import AUDITS
from olvido.learners import LEARNERS
from olvido.methods import METHODS
from olvido.methods.guarantee import Need
from olvido.methods.proxies import BANDS
from olvido.reporting.charts import HOLDOUT, LOOKS

Olvido = Callable[..., tuple[int, str, str]]
PRIVATE = re.compile(
    r"\b(strangers?|suspect|bur(y|ied)|condemned|heirs?|stammer\w*|laps?|peeks?|as it was|shelf|"
    r"told apart|(no|a) guard)\b"
)
"""Words of our own for what the field has a word of its own for."""


@pytest.mark.parametrize(
    ("command", "known"), [("methods", METHODS), ("audits", AUDITS), ("learners", LEARNERS)]
)
def test_everything_is_shown_with_what_it_does(
    olvido: Olvido, command: str, known: dict[str, type]
) -> None:
    status, out, err = olvido(command, "--json")
    assert (status, err) == (0, "")
    shown = json.loads(out)[command]
    assert [entry["name"] for entry in shown] == list(known)
    assert all(entry["summary"].strip() for entry in shown)
    for_people = olvido(command)
    assert for_people[0] == 0
    for name in known:
        assert name in for_people[1]
    assert PRIVATE.findall(for_people[1]) == []


def test_what_is_found_is_called_by_the_field_s_words() -> None:
    said = [kind.says for kind in KINDS.values()] + [band.says for band in BANDS.values()]
    said += [look.name for look in (*LOOKS.values(), HOLDOUT)] + [need.remedy for need in Need]
    assert [one for one in said if PRIVATE.search(one)] == []


def test_every_option_shown_is_one_that_is_taken(olvido: Olvido) -> None:
    from olvido.cli.arguments import method_options

    words = {
        "regulariser": "kl",
        "dtype": "bfloat16",
        "definition": "tombstone",
        "methods": "npo",
        "inverse": "ekfac",
        "aimed": "true",
        "project": "false",
        "checkpointing": "true",
        "keep": "0.5",
    }
    for method in json.loads(olvido("methods", "--json")[1])["methods"]:
        written = [f"{option}={words.get(option, 1)}" for option in method["options"]]
        assert list(method_options(method["name"], written)) == method["options"]


def test_methods_say_what_they_claim_and_need(olvido: Olvido) -> None:
    shown = {m["name"]: m for m in json.loads(olvido("methods", "--json")[1])["methods"]}
    assert (shown["retrain"]["guarantee"], shown["npo"]["guarantee"]) == ("exact", "empirical")
    assert "step log" in shown["retrain"]["needs"]
    assert "lr" in shown["npo"]["options"]


def test_audits_say_which_are_always_asked(olvido: Olvido) -> None:
    shown = {a["name"]: a for a in json.loads(olvido("audits", "--json")[1])["audits"]}
    assert shown["recall"]["required"] is True
    assert shown["neighbours"]["required"] is False
    assert "neighbours" in shown["neighbours"]["needs"]


def test_the_catalogue_needs_no_workspace(olvido: Olvido) -> None:
    assert olvido("models")[0] == 2
    assert olvido("methods")[0] == 0


@pytest.mark.parametrize(("shown", "known"), [("methods", METHODS), ("audits", AUDITS)])
def test_what_goes_to_another_program_has_a_line_for_each(
    olvido: Olvido, shown: str, known: dict[str, type]
) -> None:
    out = olvido(shown)[1]
    assert sum(line.startswith("│") for line in out.splitlines()) >= len(known)
    first = [line.split("│")[1].strip() for line in out.splitlines() if line.startswith("│")]
    assert set(known) <= set(first)
    assert "" not in first


@pytest.mark.parametrize("stop", [KeyboardInterrupt, typer.Abort])
def test_who_stops_a_command_is_told_in_a_line(
    olvido: Olvido, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise stop

    monkeypatch.setattr("olvido.cli.output.Terminal.emit", stopped)
    status, out, err = olvido("methods")
    assert (status, out) == (130, "")
    assert err.startswith("olvido: stopped")
    assert err.count("\n") == 1
