"""Subjects are found again under any spelling, and by nobody without the key."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olvido.errors import InputError, StateError
from olvido.ledger.identity import Key, SubjectId

KEY = Key(1, bytes(range(32)))


@given(st.integers(min_value=1, max_value=99), st.binary(min_size=32, max_size=32))
def test_a_subject_survives_its_text(version: int, mac: bytes) -> None:
    subject = SubjectId(version, mac.hex())
    assert SubjectId.from_str(str(subject)) == subject


def test_a_name_given_as_subject_is_not_repeated() -> None:
    with pytest.raises(InputError) as caught:
        SubjectId.from_str("Ana Soler")
    assert "Ana" not in str(caught.value)


def test_another_key_gives_another_subject_and_record_id() -> None:
    other = Key(1, bytes(32))
    assert other.subject("Ana") != KEY.subject("Ana")
    assert other.record_id(b"x") != KEY.record_id(b"x")
    assert other.fingerprint != KEY.fingerprint


def test_neither_subject_nor_fingerprint_shows_the_key() -> None:
    secret = KEY.secret.hex()
    assert secret not in repr(KEY) + str(KEY.fingerprint) + str(KEY.subject("Ana"))


@pytest.mark.parametrize("name", ["", "   ", "\u200b"])
def test_a_subject_needs_a_name(name: str) -> None:
    with pytest.raises(InputError, match="empty"):
        KEY.subject(name)


def test_a_key_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "olvido.key"
    key = Key.create(path)
    assert Key.load(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "olvido.key"
    Key.create(path)
    before = path.read_bytes()
    with pytest.raises(StateError, match="exists"):
        Key.create(path)
    assert path.read_bytes() == before


def test_a_rotated_key_comes_back_with_all_that_was_before_it(tmp_path: Path) -> None:
    path = tmp_path / "olvido.key"
    key = first = Key.create(path)
    for _ in range(3):
        key = key.next()
        key.save(path)
        assert Key.load(path) == key
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key.at(1) == first
    assert key.subject("Ana") != first.subject("Ana")
    texts = [str(first.subject("Ana")), first.content("a", "b"), first.name(["ana", "soler"])]
    renewed = [str(key.subject("Ana")), key.content("a", "b"), key.name(["ana", "soler"])]
    assert key.current(" ".join(texts)) == " ".join(renewed)
    assert key.current(" ".join(renewed)) == " ".join(renewed)
    assert {key.current_form(form, 1) for form in first.kept("Ana Soler")} == key.kept("Ana Soler")
    # What nobody made is left as it is, and what nobody could have made yet is refused.
    assert key.current("name:v1:2:short content: x") == "name:v1:2:short content: x"
    with pytest.raises(InputError, match="newest key file"):
        first.current(renewed[0])
    # Ids stand in rows and models, where nobody can make them anew.
    assert key.record_id(b"x") == first.record_id(b"x")


def test_who_else_is_meant_is_bound_in_one_order() -> None:
    key, new = KEY, KEY.next()
    people = [str(key.subject(f"person {n}")) for n in range(5)]
    made = key.content("Yes.", about=people)
    assert new.current(made) == new.content("Yes.", about=map(new.current, people))
    assert new.current(f'["{made}"]') == f'["{new.current(made)}"]'


_SECRETS = [f"olvido-key:v{n}:{str(n) * 64}\n".encode() for n in (1, 2, 3)]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"olvido-key:v1:abc\n",
        b"\xff\xfe",
        b"hello",
        _SECRETS[1],
        _SECRETS[0] + _SECRETS[1],
        _SECRETS[2] + _SECRETS[0],
        _SECRETS[1] + b"\n" + _SECRETS[0],
        _SECRETS[1] + _SECRETS[1] + _SECRETS[0],
    ],
)
def test_a_damaged_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "olvido.key"
    path.write_bytes(content)
    with pytest.raises(StateError, match="not a key file"):
        Key.load(path)


def test_a_missing_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="missing"):
        Key.load(tmp_path / "olvido.key")
