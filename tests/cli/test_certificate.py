"""`olvido certificate`: issued with the answer, shown, and verified by whoever has file and key."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Olvido = Callable[..., tuple[int, str, str]]


@pytest.fixture
def place(
    answered: tuple[Path, dict[str, Any]], here: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A copy of the workspace that answered a request by retraining."""
    folder = here / "workspace"
    shutil.copytree(answered[0], folder)
    monkeypatch.chdir(folder)
    return folder


def test_an_answer_comes_with_its_certificate(olvido: Olvido, place: Path) -> None:
    shown = json.loads(olvido("certificate", "show", "req-0001", "--json")[1])
    predicate = shown["statement"]["predicate"]
    assert predicate["guarantee"]["class"] == "exact"
    assert predicate["method"]["name"] == "retrain"
    assert len(predicate["references"]) == 1
    again = json.loads(olvido("certificate", "issue", "req-0001", "--json")[1])
    assert again["certificate"] == shown["file"]
    status, out, _ = olvido("certificate", "show", "req-0001")
    assert status == 0
    assert "Does not prove" in out
    assert json.loads(olvido("data", "check", "--json")[1])["sound"]


def test_it_is_verified_elsewhere_with_file_and_key_alone(
    olvido: Olvido, place: Path, models: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (certificate,) = (place / "certificates").iterdir()
    key = shutil.copy(place / "olvido-signing.pub", here / "issuer.pub")
    olvido("models", "export", "serving", here / "after")
    assert "machine-unlearning" in (here / "after" / "README.md").read_text("utf-8")
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    file = shutil.copy(certificate, elsewhere)
    verify = ("certificate", "verify", file)
    status, _, err = olvido(*verify)
    assert status == 2
    assert "--key" in err
    for model, holds in ((here / "after", True), (models / "before", False)):
        status, out, _ = olvido(*verify, "--key", key, "--model", model, "--json")
        found = json.loads(out)
        assert (status, found["holds"]) == (0 if holds else 1, holds)
        assert (found["weights"] is not None) == holds
    assert "are others" in found["reasons"][0]
    # The same weights behind other files are another function.
    for name, change in (
        ("config.json", lambda text: text.replace('"silu"', '"relu"')),
        ("generation_config.json", lambda text: text.replace("{", '{"suppress_tokens": [5],', 1)),
        ("olvido.json", lambda text: '{"kind": "Untraced"}'),
        ("chat_template.jinja", lambda text: f"{text} no"),
    ):
        altered = here / f"altered-{name}"
        shutil.copytree(here / "after", altered)
        there = altered / name
        there.write_text(change(there.read_text("utf-8") if there.exists() else ""), "utf-8")
        status, out, _ = olvido(*verify, "--key", key, "--model", altered, "--json")
        assert (status, json.loads(out)["weights"]) == (1, None), name
    status, out, _ = olvido(*verify, "--key", key)
    assert status == 0
    assert "olvido verify-exact" in out
    assert "No model was shown" in out
    Path(file).write_text(Path(file).read_text().replace('"sig": "', '"sig": "AAAA'))
    status, out, _ = olvido(*verify, "--key", key)
    assert (status, "Not to be believed" in out) == (1, True)
    olvido("init", "other")
    assert olvido(*verify, "--workspace", "other")[0] == 1


@pytest.mark.slow
def test_what_was_open_is_certified_again_when_it_is_closed(olvido: Olvido, place: Path) -> None:
    law = ("--law", "gdpr")
    status, _, err = olvido("notice", "req-0001", "--kind", "done", *law)
    assert status == 2
    assert "not done: everything else" in err
    letter = olvido("notice", "req-0001", "--kind", "partly-done", *law)[1]
    assert "we are still at work on this" in letter
    blank = json.loads(olvido("request", "close", "req-0001", "--json")[1])["blank"]
    exits = [f"--done={item}=nobody has any" for item in ("backups", "recipients")]
    exits += ["--cannot=log=it names nobody"] if "log" in blank else []
    status, out, err = olvido("request", "close", "req-0001", "--erase", "all", *exits, "--json")
    assert (status, err) == (0, "")
    closed = json.loads(out)
    shown = json.loads(olvido("certificate", "show", "req-0001", "--json")[1])
    assert (shown["file"], len(shown["others"])) == (closed["certificate"], 1)
    closure = shown["statement"]["predicate"]["closure"]
    assert (closure["complete"], closure["open"]) == (True, [])
    letter = " ".join(olvido("notice", "req-0001", "--kind", "done", *law)[1].split())
    assert "we did what you asked" in letter
    assert "We keep a short, signed record" in letter
    for file in (shown["file"], *shown["others"]):
        assert olvido("certificate", "verify", file)[0] == 0
    assert json.loads(olvido("data", "check", "--json")[1])["sound"]


def test_a_signed_head_kept_elsewhere_tells_a_log_that_was_cut_off(
    olvido: Olvido, place: Path, here: Path
) -> None:
    import sqlite3

    assert olvido("log", "sign", "--out", here / "head.txt")[0] == 0
    check = ("data", "check", "--checkpoint", here / "head.txt")
    assert olvido(*check)[0] == 0
    with sqlite3.connect("ledger.db") as ledger:
        ledger.execute("DELETE FROM log WHERE seq >= (SELECT max(seq) - 1 FROM log)")
        ledger.execute("DELETE FROM checkpoints")
    ledger.close()
    assert olvido("data", "check")[0] == 0
    status, out, _ = olvido(*check)
    assert status == 1
    assert "cut off" in out
    (here / "head.txt").write_text((here / "head.txt").read_text().replace("\n", "\n1", 1))
    status, _, err = olvido(*check)
    assert status == 2
    assert "not signed" in err
