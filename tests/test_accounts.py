import errno
import json
import multiprocessing
import os
import stat
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from olvido.accounts import RIGHTS, Accounts, Right, Role
from olvido.errors import InputError, StateError, UnknownName


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    return Accounts(tmp_path / "tokens.json")


def test_a_token_is_found_by_its_secret_and_by_nothing_else(accounts: Accounts) -> None:
    made, secret = accounts.new("privacy", "Marta")
    assert accounts.find(secret) == made
    for wrong in ("", secret[:-1], secret + "a", made.digest, made.id):
        assert accounts.find(wrong) is None


def test_the_file_tells_no_secret_and_only_its_owner_reads_it(accounts: Accounts) -> None:
    _, secret = accounts.new("engineer", "Ona")
    assert secret not in accounts.path.read_text()
    assert stat.S_IMODE(accounts.path.stat().st_mode) == 0o600


def test_a_revoked_token_is_gone_at_once_for_whoever_holds_the_file_open(
    accounts: Accounts,
) -> None:
    other = Accounts(accounts.path)
    first, secret = accounts.new("auditor", "Iu")
    second, kept = accounts.new("auditor", "Mar")
    assert other.find(secret) == first
    assert accounts.revoke(first.id) == first
    assert other.find(secret) is None
    assert other.find(kept) == second
    assert other.tokens() == (second,)


def test_an_id_is_not_given_twice_while_a_later_one_lives(accounts: Accounts) -> None:
    ids = [accounts.new("auditor", "a")[0].id for _ in range(3)]
    accounts.revoke(ids[0])
    assert accounts.new("auditor", "b")[0].id not in ids


def test_what_is_wrong_changes_nothing(accounts: Accounts) -> None:
    accounts.new("auditor", "a")
    before = accounts.path.read_bytes()
    with pytest.raises(UnknownName, match="privacy"):
        accounts.new("privcy", "b")
    with pytest.raises(InputError, match="label"):
        accounts.new("privacy", "  ")
    with pytest.raises(UnknownName, match="t1"):
        accounts.revoke("t9")
    assert accounts.path.read_bytes() == before


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tokens": [{"id": 1}]}', "\x00"])
def test_a_file_that_is_no_list_of_tokens_lets_nobody_in(accounts: Accounts, text: str) -> None:
    accounts.path.write_text(text)
    with pytest.raises(StateError, match="cannot be read"):
        accounts.find("olvido_anything")


def test_a_role_that_is_not_known_is_refused(accounts: Accounts) -> None:
    accounts.new("auditor", "a")
    rows = json.loads(accounts.path.read_text())
    rows["tokens"][0]["role"] = "owner"
    accounts.path.write_text(json.dumps(rows))
    with pytest.raises(StateError):
        accounts.tokens()


def test_rights_are_as_narrow_as_the_roles_say() -> None:
    assert set(RIGHTS) == set(Role)
    assert RIGHTS[Role.REQUESTER] == {Right.FILE}
    assert {Right.DECIDE, Right.WORK, Right.FILE}.isdisjoint(RIGHTS[Role.AUDITOR])
    assert Right.DECIDE not in RIGHTS[Role.ENGINEER]


@pytest.mark.parametrize(
    "other",
    ["Marta.", "MARTA", "Marta\u200b", " marta ", "Ｍａｒｔａ", "Márta", "«Marta»", "Mar\u00adta"],
)
def test_one_person_is_one_account_however_the_label_is_written(
    accounts: Accounts, other: str
) -> None:
    first, _ = accounts.new("privacy", "Marta")
    second, _ = accounts.new("auditor", other)
    assert second.account == first.account
    assert accounts.named(other, Right.DECIDE).id == first.account
    assert accounts.new("privacy", "Marta Puig")[0].account != first.account
    # Nor does she become another by having had no token for a while.
    for token in accounts.tokens():
        accounts.revoke(token.id)
    assert accounts.new("privacy", other)[0].account == first.account


def test_who_decides_is_an_account_that_may(accounts: Accounts) -> None:
    token, _ = accounts.new("auditor", "Iu")
    gone, _ = accounts.new("privacy", "Pol")
    accounts.revoke(gone.id)
    for name in ("Iu", token.account, "Pol"):
        with pytest.raises(InputError, match="may not decide"):
            accounts.named(name, Right.DECIDE)
    for name in ("", "Eva", "...", token.id, token.digest):
        with pytest.raises(UnknownName):
            accounts.named(name, Right.DECIDE)


def _at_once(works: Iterable[Callable[[], object]]) -> None:
    """Each in a process of its own, all of them let go at the same moment."""
    context = multiprocessing.get_context("fork")
    works = list(works)
    gate = context.Barrier(len(works))

    def one(work: Callable[[], object]) -> None:
        gate.wait()
        work()

    started = [context.Process(target=one, args=(work,)) for work in works]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
        assert process.exitcode == 0


@pytest.mark.slow
def test_tokens_made_at_the_same_time_are_all_kept(accounts: Accounts) -> None:
    _at_once(
        [lambda n=n: Accounts(accounts.path).new("auditor", f"somebody {n}") for n in range(20)]
    )
    assert len(accounts.tokens()) == len({t.id for t in accounts.tokens()}) == 20
    assert len({t.account for t in accounts.tokens()}) == 20


@pytest.mark.slow
def test_a_revoked_token_never_comes_back(accounts: Accounts) -> None:
    """A hundred races of revoking with making another, in threads that each look for themselves."""
    watching = Accounts(accounts.path)
    for _ in range(100):
        made, secret = accounts.new("auditor", "a")
        assert watching.find(secret) is not None
        gate = threading.Barrier(2)

        def revoke(identifier: str = made.id, gate: threading.Barrier = gate) -> None:
            gate.wait()
            Accounts(accounts.path).revoke(identifier)

        def another(gate: threading.Barrier = gate) -> None:
            gate.wait()
            Accounts(accounts.path).new("auditor", "b")

        threads = [threading.Thread(target=target) for target in (revoke, another)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert watching.find(secret) is None


def test_a_full_disk_changes_nothing_and_leaves_nothing(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, secret = accounts.new("auditor", "a")
    before = {path.name: path.read_bytes() for path in accounts.path.parent.iterdir()}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            accounts.new("auditor", "b")
        with pytest.raises(OSError, match="No space"):
            accounts.revoke("t1")
    assert {path.name: path.read_bytes() for path in accounts.path.parent.iterdir()} == before
    assert accounts.find(secret) is not None
