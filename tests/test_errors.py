"""Errors keep their kind, words and particulars on the way through another process."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olvido.errors import (
    BadRow,
    DigestMismatch,
    EnvironmentMismatch,
    InputError,
    MissingNeed,
    ModelDestroyed,
    NotFinite,
    OlvidoError,
    ParameterName,
    UnknownName,
    require_count,
)


@pytest.mark.parametrize(
    "error",
    [
        BadRow("rows.jsonl", 3, "expected text"),
        UnknownName("method", "ngo", ["npo", "retrain"]),
        DigestMismatch("a file", "a", "b"),
        EnvironmentMismatch("threads: recorded '1', here '2'"),
        ModelDestroyed("nothing is left"),
        NotFinite("the loss became nan at step 0"),
        MissingNeed(
            "give records (", ParameterName("retain"), ") or ", ParameterName("chat", False)
        ),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_can_be_sent_to_another_process(error: OlvidoError) -> None:
    found = pickle.loads(pickle.dumps(error))
    assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))
    assert found.args == error.args


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4), st.sampled_from(["retain", "lr"]))
def test_a_door_names_the_parameter_and_leaves_all_else(texts: list[str], name: str) -> None:
    """Braces, flags and names in a text are no parameters, whatever they look like."""
    parts = [part for text in texts for part in (text, ParameterName(name))]
    error = InputError(*parts)
    assert str(error) == "".join(f"{text}{name}" for text in texts)
    assert error.rendered(lambda p: f"<{p.name}>") == "".join(f"{text}<{name}>" for text in texts)


@pytest.mark.parametrize("value", [0, -1, 1_000_001, 10**20])
def test_a_number_that_nothing_can_be_made_of_is_refused(value: int) -> None:
    with pytest.raises(InputError, match="epochs must be"):
        require_count("epochs", value)
    for most in (1, 1_000_000):
        require_count("epochs", most)
