"""What plain transformers trained, by commands alone: entered, asked to forget, and certified.

Nobody can guess the made labels: who never saw a record errs where the model does not.
"""

from __future__ import annotations

import io
import json
from base64 import b64decode
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Olvido
from tests.cli.test_classifiers import believed
from tests.outside import CLASSIFIERS, LANGUAGE, make_classifier, make_language
from tests.sharing import Shared

from olvido.demo.residents import make_town
from olvido.files import read_document
from olvido.ledger.facts import DECLARED
from olvido.models.adapter import is_adapter
from olvido.requests.planner import EMPIRICAL

PERSON = "Person 002"


COLUMNS = {"modernbert": ("--prompt", "note", "--completion", "kind")}


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted([*CLASSIFIERS, *LANGUAGE]))
def test_the_commands_of_the_how_to_end_in_a_certificate(
    here: Path, olvido: Olvido, shared: Shared, kind: str
) -> None:
    make = make_classifier if kind in CLASSIFIERS else make_language
    # A Trainer talks on standard output, where a command's document is read.
    with redirect_stdout(io.StringIO()):
        outside = shared.folder(lambda folder: make(folder, kind), kind)

    def said(*arguments: Any) -> Any:
        status, out, err = olvido(*arguments, "--json")
        assert status == 0, err or out
        return json.loads(out)

    said("init")
    for name in ("people", "others"):
        (file,) = outside.glob(f"{name}.*")
        said("data", "add", file, "--name", name, *COLUMNS.get(kind, ()))
    made = said(
        *("models", "add", outside / "model", "--learned", "people"),
        *("--base", outside / "base", "--recipe", outside / "recipe.json"),
    )
    assert made["warning"] is None
    leaving = make_town(seed=0, residents=8, outsiders=12, wordings=3).data_subject.name
    subject = PERSON if kind in CLASSIFIERS else leaving
    asked = said("request", "new", "--subject", subject)["id"]
    chosen = said("request", "plan", asked, "--holdout", "others")["chosen"]
    assert chosen["order"] == [EMPIRICAL]
    (attempt,) = said("request", "run", asked, "--holdout", "others")["attempts"]
    assert attempt["audit"]["verdict"] == "pass"
    (certificate,) = (here / "certificates").glob(f"{asked}-*.json")
    said("certificate", "verify", certificate, "--key", here / "olvido-signing.pub")
    believed(here, str(certificate))
    predicate = json.loads(b64decode(read_document(certificate)["payload"]))["predicate"]
    assert predicate["guarantee"]["class"] == "empirical"
    assert predicate["training"]["basis"] == DECLARED
    serving = here / "models" / said("models", "show", "serving")["path"]
    assert is_adapter(serving) == (kind == "adapter")
    assert (serving / "model.safetensors").exists() != is_adapter(serving)
