"""`olvido audit-privacy`: the promise of a model of the workspace is refuted, or it is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.training.private.frauds import no_noise

from olvido.settings import Settings
from olvido.workspace import Workspace

Olvido = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]


@pytest.mark.slow
def test_a_promise_is_audited(
    olvido: Olvido, refused: Refused, place: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("opacus")
    quick = ("--epochs", "1", "--batch-size", "16", "--learner", "private", "--noise", "4")
    asked = ("learn", "city", "--model", files / "small", *quick, "--option", "accountant=rdp")
    plain = json.loads(olvido(*asked, "--json")[1])["id"]
    refused(["audit-privacy", plain], "train again", "canaries")
    refused(["audit-privacy", "nobody"], "nobody")

    status, out, _ = olvido(*asked, "--option", "canaries=40")
    assert status == 0
    assert "40 canaries count as units: 'olvido audit-privacy" in out
    (made,) = [m for m in json.loads(olvido("models", "--json")[1])["models"]
               if m["id"] in out]  # fmt: skip
    folder = place / "models" / made["path"]
    assert (folder / "canaries.json").is_file()
    # Nobody by that name is in the ledger.
    with Workspace(Settings.find(place)) as workspace:
        assert not any("canary" in record.id for record in workspace.store.records("city"))

    status, out, _ = olvido("audit-privacy", made["id"], "--json")
    found = json.loads(out)
    assert (status, found["outcome"], found["canaries"], found["guesses"]) == (
        0, "not refuted", 40, 20,
    )  # fmt: skip
    status, out, _ = olvido("audit-privacy", made["id"], "--guesses", "10")
    assert status == 0
    assert "does not show that it holds" in out
    refused(["audit-privacy", made["id"], "--guesses", "9"], "even")
    refused(["audit-privacy", made["id"], "--guesses", "41"], "40")

    # Coins stay where they were thrown.
    assert olvido("models", "export", made["id"], place / "out")[0] == 0
    assert not (place / "out" / "canaries.json").exists()

    with monkeypatch.context() as patch:
        no_noise(patch)
        status, out, _ = olvido("audit-privacy", made["id"])
    assert status == 1
    assert "The promise is refuted" in out
    assert "BROKEN" in out
    (folder / "canaries.json").unlink()
    refused(["audit-privacy", made["id"]], "restore canaries.json")
