"""The API against its own OpenAPI document: whatever is sent, it answers as it says it does."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from olvido.accounts import Accounts
from olvido.service.app import application
from olvido.settings import Settings

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
ODD = st.one_of(
    st.sampled_from(["req-0001", "req-9999", "serving", "0", "-1", "%00", "..", "'", "a" * 300]),
    # The client itself refuses control characters, and reads / ? # as ends of a part.
    st.text(
        st.characters(
            codec="utf-8", exclude_categories=("C", "Zl", "Zp"), exclude_characters="/?#"
        ),
        min_size=1,
        max_size=20,
    ),
)


def _value(document: dict[str, Any], schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Mostly what a schema asks for, and sometimes anything."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    good: st.SearchStrategy[Any] = JSON
    if "enum" in schema:
        good = st.sampled_from(schema["enum"])
    elif "anyOf" in schema:
        good = st.one_of([_value(document, one) for one in schema["anyOf"]])
    elif schema.get("type") == "string":
        good = st.sampled_from(
            ["Pau Vila", "notes", "r1", "gdpr", "2026-12-31", "serving"]
        ) | st.text(st.characters(codec="utf-8"))
    elif schema.get("type") == "integer":
        good = st.integers(-(2**70), 2**70)
    elif schema.get("type") == "array":
        good = st.lists(_value(document, schema.get("items", {})), max_size=3)
    elif schema.get("type") == "null":
        good = st.none()
    elif "properties" in schema:
        parts = {n: _value(document, one) for n, one in schema["properties"].items()}
        good = st.fixed_dictionaries({}, optional=parts)
    return st.one_of(good, good, good, JSON)


@pytest.fixture(scope="module")
def service(ready: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("fuzzed") / "ours"
    shutil.copytree(ready, folder)
    made = Settings.load(folder, environment={})
    _, secret = Accounts.of(made).new("privacy", "anybody")
    app = application([made], asks=(10**9, 1.0))
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False) as client:
        yield client, {"Authorization": f"Bearer {secret}"}


def test_the_document_names_every_answer_and_every_entry_has_its_words(service: Any) -> None:
    client, _ = service
    document = client.get("/api/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert len(document["paths"]) >= 15
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            assert operation["description"], path
            assert {"401", "403", "404", "409", "422", "429"} <= set(operation["responses"]), path
            assert operation["security"], path


@pytest.mark.slow
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_nothing_that_is_sent_breaks_the_service(service: Any, data: st.DataObject) -> None:
    client, headers = service
    document = client.get("/api/openapi.json").json()
    path, method = data.draw(
        st.sampled_from([(p, m) for p, ms in sorted(document["paths"].items()) for m in sorted(ms)])
    )
    operation = document["paths"][path][method]
    sent: dict[str, Any] = {"params": {}}
    for parameter in operation.get("parameters", ()):
        value = data.draw(
            _value(document, parameter["schema"]) if parameter["in"] == "query" else ODD
        )
        if parameter["in"] == "query":
            sent["params"][parameter["name"]] = str(value)
        else:
            path = path.replace(f"{{{parameter['name']}}}", str(value))
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        sent["json"] = data.draw(_value(document, schema))
    answer = client.request(method, path, headers=headers, **sent)
    assert answer.status_code < 500, (method, path, sent, answer.text)
    answered = str(answer.status_code) in operation["responses"] or answer.status_code in (404, 405)
    assert answered, (method, path, answer.status_code)


def test_what_the_framework_refuses_is_told_as_the_document_says(service: Any) -> None:
    client, headers = service
    typed = {**headers, "Content-Type": "application/json"}
    for method, path, content, status in (
        ("POST", "/api/requests", b"\xff\n", 422),
        ("POST", "/api/requests", b"{", 422),
        ("POST", "/api/requests", b'{"subject": Infinity}', 422),
        ("POST", "/api/requests", b"-Infinity", 422),
        ("GET", "/api/nothing-of-the-kind", b"", 404),
        ("DELETE", "/api/requests", b"", 405),
    ):
        answer = client.request(method, path, content=content, headers=typed)
        assert (answer.status_code, list(answer.json())) == (status, ["error"]), answer.text
    assert "POST" in answer.headers["Allow"]
    page = client.get("/nothing-of-the-kind", headers=headers)
    assert page.status_code == 404
    assert page.headers["Content-Type"].startswith("text/html")
    for ends in ("after=99999999999999999999", f"after={2**63}"):
        assert client.get(f"/api/log?{ends}", headers=headers).status_code == 422
