"""The command line, run in the test's own process inside a new workspace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from olvido.cli import run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one; no OLVIDO_ variable is set."""
    for variable in ("OLVIDO_WORKSPACE", "OLVIDO_LEDGER", "OLVIDO_KEY", "OLVIDO_DATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def olvido(
    here: Path,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command; gives its exit status, standard output and standard error."""

    def call(*arguments: Any) -> tuple[int, str, str]:
        status = run([str(argument) for argument in arguments])
        written = capsys.readouterr()
        return status, written.out, written.err

    return call
