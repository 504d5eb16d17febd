import json
import stat
from pathlib import Path

import pytest

from olvido.errors import InputError, StateError, UnknownName
from olvido.serving.tokens import RIGHTS, Right, Role, Tokens


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path / "tokens.json")


def test_a_token_is_found_by_its_secret_and_by_nothing_else(tokens: Tokens) -> None:
    made, secret = tokens.new("privacy", "Marta")
    assert tokens.find(secret) == made
    for wrong in ("", secret[:-1], secret + "a", made.digest, made.id):
        assert tokens.find(wrong) is None


def test_the_file_tells_no_secret_and_only_its_owner_reads_it(tokens: Tokens) -> None:
    _, secret = tokens.new("engineer", "Ona")
    assert secret not in tokens.path.read_text()
    assert stat.S_IMODE(tokens.path.stat().st_mode) == 0o600


def test_a_revoked_token_is_gone_at_once_for_whoever_holds_the_file_open(tokens: Tokens) -> None:
    other = Tokens(tokens.path)
    first, secret = tokens.new("auditor", "Iu")
    second, kept = tokens.new("auditor", "Mar")
    assert other.find(secret) == first
    assert tokens.revoke(first.id) == first
    assert other.find(secret) is None
    assert other.find(kept) == second
    assert other.all() == (second,)


def test_an_id_is_not_given_twice_while_a_later_one_lives(tokens: Tokens) -> None:
    ids = [tokens.new("auditor", "a")[0].id for _ in range(3)]
    tokens.revoke(ids[0])
    assert tokens.new("auditor", "b")[0].id not in ids


def test_what_is_wrong_changes_nothing(tokens: Tokens) -> None:
    tokens.new("auditor", "a")
    before = tokens.path.read_bytes()
    with pytest.raises(UnknownName, match="privacy"):
        tokens.new("privcy", "b")
    with pytest.raises(InputError, match="label"):
        tokens.new("privacy", "  ")
    with pytest.raises(UnknownName, match="t1"):
        tokens.revoke("t9")
    assert tokens.path.read_bytes() == before


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tokens": [{"id": 1}]}', "\x00"])
def test_a_file_that_is_no_list_of_tokens_lets_nobody_in(tokens: Tokens, text: str) -> None:
    tokens.path.write_text(text)
    with pytest.raises(StateError, match="no list of tokens"):
        tokens.find("olvido_anything")


def test_a_role_that_is_not_known_is_refused(tokens: Tokens) -> None:
    tokens.new("auditor", "a")
    rows = json.loads(tokens.path.read_text())
    rows["tokens"][0]["role"] = "owner"
    tokens.path.write_text(json.dumps(rows))
    with pytest.raises(StateError):
        tokens.all()


def test_rights_are_as_narrow_as_the_roles_say() -> None:
    assert set(RIGHTS) == set(Role)
    assert RIGHTS[Role.REQUESTER] == {Right.FILE}
    assert {Right.DECIDE, Right.WORK, Right.FILE}.isdisjoint(RIGHTS[Role.AUDITOR])
    assert Right.DECIDE not in RIGHTS[Role.ENGINEER]
