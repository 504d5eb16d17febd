"""Settings come from the nearest workspace, the environment overrules, and typing errors fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from olvido.errors import InputError, UnknownName
from olvido.settings import Settings, template


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "olvido.toml").write_text(template())
    return tmp_path


def test_the_template_says_nothing_but_defaults(workspace: Path, tmp_path: Path) -> None:
    written = Settings.load(workspace, environment={})
    (tmp_path / "olvido.toml").unlink()
    assert Settings.load(tmp_path, environment={}) == written
    assert written.ledger == str(workspace / "ledger.db")
    assert (written.key, written.data) == (workspace / "olvido.key", workspace / "data")
    assert (written.device, written.dtype, written.threads) == ("cpu", "float32", None)


def test_the_nearest_workspace_above_is_found(workspace: Path) -> None:
    inside = workspace / "a" / "b"
    inside.mkdir(parents=True)
    assert Settings.find(start=inside, environment={}).workspace == workspace
    (workspace / "a" / "olvido.toml").write_text("seed = 7")
    assert Settings.find(start=inside, environment={}).seed == 7
    variable = {"OLVIDO_WORKSPACE": str(workspace)}
    assert Settings.find(start=inside, environment=variable).seed == 0
    assert Settings.find(workspace / "a", environment=variable).seed == 7


def test_the_environment_overrules_the_file(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "olvido.toml").write_text("threads = 2\ndata = 'rows'\nledger = 'l.db'")
    monkeypatch.chdir("/")
    environment = {"OLVIDO_THREADS": "4", "OLVIDO_DATA": "elsewhere", "OLVIDO_CACHE": "x"}
    settings = Settings.load(workspace, environment=environment | {"OLVIDO_TEST_X": "1"})
    assert (settings.threads, settings.data) == (4, Path("/elsewhere"))
    assert settings.ledger == str(workspace / "l.db")
    assert Settings.load(workspace, environment={}).data == workspace / "rows"


def test_a_database_url_stays_a_url(workspace: Path) -> None:
    url = "postgresql+psycopg://host/olvido"
    assert Settings.load(workspace, environment={"OLVIDO_LEDGER": url}).ledger == url


@pytest.mark.parametrize(
    ("text", "variables", "error", "words"),
    [
        ("devise = 'cpu'", {}, UnknownName, "did you mean 'device'"),
        ("", {"OLVIDO_DEVISE": "cpu"}, UnknownName, "did you mean 'OLVIDO_DEVICE'"),
        ("seed = 'one'", {}, InputError, "'seed' as a whole number"),
        ("seed = true", {}, InputError, "'seed' as a whole number"),
        ("", {"OLVIDO_THREADS": "two"}, InputError, "'threads' as a whole number"),
        ("data = 3", {}, InputError, "'data' as text"),
        ("dtype = 'float31'", {}, UnknownName, "did you mean 'float32'"),
        ("threads = 0", {}, InputError, "1 or more"),
        ("seed =", {}, InputError, "not TOML"),
    ],
)
def test_what_is_wrong_is_named(
    workspace: Path,
    text: str,
    variables: dict[str, str],
    error: type[InputError],
    words: str,
) -> None:
    (workspace / "olvido.toml").write_text(text)
    with pytest.raises(error, match=words):
        Settings.load(workspace, environment=variables)


def test_no_workspace_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="olvido init"):
        Settings.find(start=tmp_path, environment={})
    with pytest.raises(InputError, match="no workspace"):
        Settings.find(tmp_path, environment={})


def test_holidays_and_the_time_zone_are_read(workspace: Path) -> None:
    import datetime as dt

    (workspace / "olvido.toml").write_text(
        'holidays = [2026-12-25, "2027-01-06"]\ntimezone = "Europe/Madrid"'
    )
    settings = Settings.load(workspace, environment={})
    assert settings.holidays == {dt.date(2026, 12, 25), dt.date(2027, 1, 6)}
    assert settings.timezone == "Europe/Madrid"
    overruled = Settings.load(workspace, environment={"OLVIDO_HOLIDAYS": "2027-05-01"})
    assert overruled.holidays == {dt.date(2027, 5, 1)}


@pytest.mark.parametrize(
    "text", ["holidays = '2026-12-25'", "holidays = ['soon']", "holidays = [1]", "timezone = 'X/Y'"]
)
def test_days_and_zones_that_are_none_are_refused(workspace: Path, text: str) -> None:
    (workspace / "olvido.toml").write_text(text)
    with pytest.raises(InputError, match=r"expected '(holidays|timezone)'"):
        Settings.load(workspace, environment={})
