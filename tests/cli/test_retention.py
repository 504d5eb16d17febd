"""A retention rule by commands: from the settings to the answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from olvido.accounts import Accounts
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.settings import Settings

Olvido = Callable[..., tuple[int, str, str]]
RULE = """
[[retention]]
name = "old"
dataset = "people"
keep = "2 years"
from = "collected_at"
"""


@pytest.mark.slow
def test_what_is_due_is_asked_approved_and_answered_once(
    olvido: Olvido, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(*arguments: Any) -> Any:
        status, out, err = olvido(*arguments, "--json")
        assert status == 0, err
        return json.loads(out)

    rows = [
        {"id": "a", "text": "Ana sings.", "subject": "Ana Soler", "collected_at": "2020-01-01"},
        {"id": "b", "text": "Bru swims.", "subject": "Bru Vidal"},
    ]
    (here / "people.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said("init", "w")
    monkeypatch.chdir(here / "w")
    said("data", "add", here / "people.jsonl", "--name", "people")
    with Path("olvido.toml").open("a") as file:
        file.write(RULE)
    Accounts.of(Settings.find(environment={})).new("privacy", "Eva")

    (rule,) = said("retention", "show")["rules"]
    assert (rule["covers"], rule["due"], rule["undated"]) == (2, 1, 1)
    (asked,) = said("run")["asked"]
    assert (asked["rule"], asked["status"], asked["why"]) == ("old", "planned", None)
    # It is approved like any other; until then nothing more is asked, and nothing is answered.
    assert said("run") == {"requests": [], "asked": []}
    assert said("retention", "show")["requests"][0]["id"] == asked["id"]
    said("request", "approve", asked["id"], "--by", "Eva")
    (done,) = said("run")["requests"]
    assert (done["id"], done["status"]) == (asked["id"], "published")
    place = Settings.find(environment={})
    with Store.open(place.ledger, key=Key.load(place.key)) as store:
        (dataset,) = store.datasets()
        assert [record.id for record in store.tombstoned(dataset.id)] == ["a"]
    (rule,) = said("retention", "show")["rules"]
    assert (rule["covers"], rule["due"], rule["asked"]) == (1, 0, 0)
    assert said("run") == {"requests": [], "asked": []}
