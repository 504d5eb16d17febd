"""Errors keep their kind, words and particulars on the way through another process."""

from __future__ import annotations

import pickle

import pytest

from olvido.errors import (
    BadRow,
    DigestMismatch,
    EnvironmentMismatch,
    ModelDestroyed,
    OlvidoError,
    UnknownName,
)


@pytest.mark.parametrize(
    "error",
    [
        BadRow("rows.jsonl", 3, "expected text"),
        UnknownName("method", "ngo", ["npo", "retrain"]),
        DigestMismatch("a file", "a", "b"),
        EnvironmentMismatch("threads: recorded '1', here '2'"),
        ModelDestroyed("nothing is left"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_can_be_sent_to_another_process(error: OlvidoError) -> None:
    found = pickle.loads(pickle.dumps(error))
    assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))
    assert found.args == error.args
