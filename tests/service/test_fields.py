"""What is wrong with a form is told in the words that stand beside its fields."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from tests.service.conftest import send, sign_in

from olvido.accounts import Accounts
from olvido.service.rendering import FIELDS, pages_environment
from olvido.settings import Settings


@pytest.mark.parametrize("name", FIELDS)
def test_every_word_stands_beside_a_field_of_that_name(name: str) -> None:
    loader = pages_environment().loader
    assert loader is not None
    sources = [
        loader.get_source(pages_environment(), template)[0]
        for template in ("new.html.j2", "request.html.j2")
    ]
    beside = [text for text in sources if FIELDS[name] in text and f'name="{name}"' in text]
    assert beside


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"kind": "erasure", "subject": "Nobody Here"}, "nothing_found"),
        ({"kind": "poison"}, "source"),
        ({"kind": "erasure"}, "subject"),
    ],
)
def test_what_is_wrong_names_the_field_and_no_flag(
    client: TestClient, settings: Settings, values: dict[str, str], field: str
) -> None:
    sign_in(client, Accounts.of(settings).new("privacy", "Marta")[1])
    answer = send(client, "/requests", page="/requests/new", **values)
    assert answer.status_code == 422
    (told,) = [line for line in answer.text.splitlines() if 'role="alert"' in line]
    assert f"“{FIELDS[field]}”" in told
    assert "--" not in told
