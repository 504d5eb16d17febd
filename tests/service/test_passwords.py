"""Accounts with passwords: who gets in, what guessing tells, and who is never kept out."""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.service.conftest import send, workspace

from olvido import passwords
from olvido.accounts import Accounts, Right
from olvido.cli import run
from olvido.errors import InputError, UnknownName
from olvido.service import authentication
from olvido.service.app import application
from olvido.service.authentication import COOKIE, DEVICE, Authenticator, RequestRefused, Tenant
from olvido.service.sessions import Buckets
from olvido.settings import Settings

GOOD, OTHER = "four blue horses sing", "seven green foxes wait"


@pytest.fixture
def accounts(settings: Settings) -> Accounts:
    made = Accounts.of(settings)
    made.set_password("Marta Roca", GOOD, role="privacy")
    made.new("privacy", "Iu, by token alone")
    return made


@pytest.fixture
def client(accounts: Accounts, settings: Settings, tmp_path: Path) -> Iterator[TestClient]:
    """A service of two workspaces, in which guesses run out soon."""
    theirs = workspace(tmp_path / "theirs", "Laia Roca")
    made = application([settings, theirs], guesses=(8, 3600.0))
    with TestClient(made, follow_redirects=False) as one:
        yield one


def _sign_in(client: TestClient, account: str, password: str) -> Any:
    return send(client, "/login", page="/login", account=account, password=password)


@pytest.mark.slow
def test_a_password_opens_what_its_role_may_until_it_is_another(
    client: TestClient, accounts: Accounts
) -> None:
    for name in ("Marta Roca", " marta  ROCA", "Marta. Roca", accounts.overview()[0]["id"]):
        client.cookies.clear()
        answer = _sign_in(client, name, GOOD)
        assert (answer.status_code, answer.headers["location"]) == (303, "/"), name
        assert "Marta Roca, privacy" in client.get("/").text
    assert accounts.named("Marta Roca", Right.DECIDE).label == "Marta Roca"
    assert send(client, "/requests/req-0001/identify").status_code == 303
    accounts.set_password("marta roca", OTHER)
    assert client.get("/").status_code == 303
    assert _sign_in(client, "Marta Roca", GOOD).status_code == 401
    assert _sign_in(client, "Marta Roca", OTHER).status_code == 303
    accounts.close("Marta Roca")
    assert client.get("/").status_code == 303
    assert _sign_in(client, "Marta Roca", OTHER).status_code == 401
    with pytest.raises(InputError):
        accounts.named("Marta Roca", Right.DECIDE)


def test_nobody_learns_by_guessing_who_has_an_account(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []
    matches = passwords._matches
    monkeypatch.setattr(
        passwords, "_matches", lambda given, phc: bool(counted.append(phc)) or matches(given, phc)
    )
    seen = set()
    for name, password in (
        ("Marta Roca", OTHER),
        ("Nobody At All", OTHER),
        ("Iu, by token alone", OTHER),
        ("...", GOOD),
        ("", ""),
        ("Marta Roca", ""),
        ("Marta Roca\0", "x" * 900),
    ):
        counted.clear()
        answer = _sign_in(client, name, password)
        shape = re.sub(r'name="form" value="[^"]*"', "", answer.text)
        seen.add((answer.status_code, shape, len(counted)))
    assert len(seen) == 1
    status, _, work = seen.pop()
    # One hash for each workspace, whatever it has.
    assert (status, work) == (401, 2)


@pytest.mark.slow
def test_guesses_run_out_and_keep_nobody_out_who_was_here_before(
    client: TestClient, settings: Settings, accounts: Accounts
) -> None:
    assert _sign_in(client, "Marta Roca", GOOD).status_code == 303
    device = client.cookies[DEVICE]
    client.cookies.clear()
    codes = [_sign_in(client, "Marta Roca", f"{OTHER} {n}").status_code for n in range(10)]
    assert codes == [401] * 8 + [429] * 2
    # Neither a stranger with the right one, nor one with a device of their own making.
    assert _sign_in(client, "Marta Roca", GOOD).status_code == 429
    client.cookies.set(DEVICE, device[::-1])
    assert _sign_in(client, "Marta Roca", GOOD).status_code == 429
    # A token is not slowed down by them, and neither is a browser that was signed in before.
    token = accounts.new("auditor", "Jan")[1]
    assert client.get("/api/laws", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    client.cookies.clear()
    client.cookies.set(DEVICE, device)
    assert _sign_in(client, "Marta Roca", GOOD).status_code == 303
    # Its guesses are counted, too, and it is no key to another account.
    accounts.set_password("Pol", OTHER, role="auditor")
    assert _sign_in(client, "Pol", OTHER).status_code == 429
    codes = [_sign_in(client, "Marta Roca", f"{OTHER} {n}").status_code for n in range(10)]
    assert codes == [401] * 8 + [429] * 2


@pytest.mark.parametrize("right", [0, 3])
def test_as_many_are_tried_at_once_as_one_after_the_other(
    settings: Settings, accounts: Accounts, monkeypatch: pytest.MonkeyPatch, right: int
) -> None:
    """Every one of thirty threads asks before the first has been answered."""
    tried: list[str] = []
    full = threading.Barrier(30, timeout=10)

    def slow(password: str, kept: Sequence[str | None]) -> list[bool]:
        tried.append(password)
        # Until all are here or refused.
        full.wait()
        return [password == GOOD for _ in kept]

    monkeypatch.setattr(authentication, "matching", slow)
    asked = _authenticator(settings, guesses=8)

    def guess(number: int) -> int:
        password = GOOD if number < right else OTHER
        try:
            asked.sign_in_with_password("Marta Roca", password, "192.0.2.1", None)
        except RequestRefused as refused:
            if refused.status == 429:
                full.wait()
            return refused.status
        return 200

    with ThreadPoolExecutor(30) as pool:
        codes = list(pool.map(guess, range(30)))
    asked.tenants[0].store.close()
    assert len(tried) == 8
    assert codes.count(429) == 22


@pytest.mark.parametrize("end", ["a new password", "closing", "closing and the same one"])
def test_a_browser_is_known_for_as_long_as_the_password_that_it_gave(
    settings: Settings, accounts: Accounts, end: str
) -> None:
    """Whoever took its cookie loses the guesses of their own when the password is changed."""
    asked = _authenticator(settings, guesses=1)
    device = asked.sign_in_with_password("Marta Roca", GOOD, "192.0.2.1", None)[2]
    with pytest.raises(RequestRefused):
        asked.sign_in_with_password("Marta Roca", OTHER, "192.0.2.9", None)
    assert asked.sign_in_with_password("Marta Roca", GOOD, "192.0.2.9", device)[2] == device
    if end.startswith("closing"):
        accounts.close("Marta Roca")
    if end.endswith("same one"):
        accounts.set_password("Marta Roca", GOOD, role="privacy")
    if end == "a new password":
        accounts.set_password("Marta Roca", OTHER)
    with pytest.raises(RequestRefused) as refused:
        asked.sign_in_with_password("Marta Roca", OTHER, "192.0.2.9", device)
    assert refused.value.status == 429
    asked.tenants[0].store.close()


def _authenticator(settings: Settings, *, guesses: int) -> Authenticator:
    asks, visits = Buckets(99, 1.0), Buckets(1, 1.0)
    counted = Buckets(guesses, 3600.0)
    return Authenticator([Tenant.of(settings)], asks=asks, guesses=counted, visits=visits)


def test_a_device_that_is_no_text_of_ours_is_none(client: TestClient) -> None:
    headers = {"Cookie": f"{DEVICE}=\u00e9\u00e9".encode("latin-1")}
    page = client.get("/login", headers=headers)
    form = re.search(r'name="form" value="([^"]*)"', page.text)
    assert form is not None
    cookie = f"{client.cookies.get('olvido-form')}".encode()
    headers = {"Cookie": b"olvido-form=" + cookie + b"; " + headers["Cookie"]}
    said = {"account": "Marta Roca", "password": OTHER, "form": form[1]}
    assert client.post("/login", data=said, headers=headers).status_code == 401


def test_what_is_kept_of_a_password_opens_nothing(
    client: TestClient, settings: Settings, accounts: Accounts
) -> None:
    kept = accounts.path.read_text()
    assert GOOD not in kept
    (row,) = json.loads(kept)["passwords"]
    assert row["phc"].startswith("$argon2id$")
    found = accounts.password_of("Marta Roca")
    assert found is not None
    assert row["phc"] not in repr(found)
    for stolen in (row["phc"], f"password\0{row['phc']}", found.token("").digest, row["account"]):
        assert accounts.find(stolen) is None
        cookie = {"Cookie": f"{COOKIE}={stolen.encode('unicode_escape').decode()}"}
        assert client.get("/api/laws", headers=cookie).status_code == 401
        assert _sign_in(client, "Marta Roca", stolen).status_code == 401


@pytest.mark.parametrize(
    ("label", "password"),
    [
        ("Pol", "short"),
        ("Pol", "a" * 20),
        ("Pol", "abcabcabcabcabcabc"),
        ("Pol Vila", "I am POL VILA of Gracia"),
        ("Pol", "x" * 501),
        ("Pol  Vila", "I am Pol Vila of Gracia"),
        ("Pòl Vila", "I am pol-vila of Gracia"),
        ("Pol Vila", "PolVila1! of Gracia"),
        ("Pol. Vila", "I am Pol\u00a0V\u00edla of Gracia"),
        ("x " * 101, GOOD),
        ("\x1b[31mPol", GOOD),
        ("Pol\x9b31m", GOOD),
        ("Pol\x07", GOOD),
        ("...", GOOD),
        ("Marta Roca", OTHER),
    ],
)
def test_a_password_that_is_none_changes_nothing(
    accounts: Accounts, label: str, password: str
) -> None:
    before = accounts.path.read_bytes()
    with pytest.raises(InputError) as refused:
        accounts.set_password(label, password, role="auditor")
    assert password not in str(refused.value)
    for wrong in ({"role": "owner"}, {}):
        with pytest.raises(UnknownName):
            accounts.set_password("Nobody", GOOD, **wrong)
    assert accounts.path.read_bytes() == before


@pytest.mark.parametrize("by", ["id", "label", "marta   ROCA", "Márta. Roca"])
def test_a_changed_password_has_no_label_in_it_however_the_account_is_named(
    accounts: Accounts, by: str
) -> None:
    names = {"id": accounts.overview()[0]["id"], "label": "Marta Roca"}
    before = accounts.path.read_bytes()
    for password in ("Marta Roca in 2026!", "MARTAROCA in 2026!", "in 2026: m\u00e1rta-roca"):
        with pytest.raises(InputError, match="label"):
            accounts.set_password(names.get(by, by), password)
    assert accounts.path.read_bytes() == before


@pytest.mark.parametrize("label", ["x " * 101, "\x1b[31mEve", "Eve\x9b31m", "..."])
def test_a_label_that_no_form_takes_is_none(accounts: Accounts, label: str) -> None:
    before = accounts.path.read_bytes()
    with pytest.raises(InputError):
        accounts.new("auditor", label)
    assert accounts.path.read_bytes() == before


def test_a_file_from_before_there_were_passwords_lets_in_whom_it_knows(
    accounts: Accounts, tmp_path: Path
) -> None:
    (path := tmp_path / "kept" / "tokens.json").parent.mkdir()
    secret = accounts.new("auditor", "Jan")[1]
    kept = json.loads(accounts.path.read_text())
    del kept["passwords"]
    path.write_text(json.dumps(kept))
    path.chmod(0o600)
    before = Accounts(path)
    found = before.find(secret)
    assert found is not None
    assert found.label == "Jan"
    before.set_password("Jan", GOOD, role="auditor")
    assert before.find(secret) == found
    assert set(before.labels()) == {one["id"] for one in kept["accounts"]}


def test_however_letters_are_composed_it_is_one_password(accounts: Accounts) -> None:
    accounts.set_password("Marta Roca", "n\u00faria canta a gr\u00e0cia")
    kept = accounts.password_of("Marta Roca")
    assert kept is not None
    given = "nu\u0301ria canta a gra\u0300cia"
    assert passwords.matching(given, [kept.phc, None]) == [True, False]


def test_accounts_on_the_command_line(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def olvido(*words: str, typed: str = "") -> tuple[int, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        status = run(["--workspace", str(settings.workspace), "account", *words, "--json"])
        said = capsys.readouterr()
        assert GOOD not in said.out + said.err
        return status, said.out

    accounts = Accounts.of(settings)
    assert olvido("new", "--role", "privacy", "--label", "Marta", typed=f"{GOOD}\n")[0] == 0
    assert olvido("new", "--role", "privacy", "--label", "marta", typed=f"{OTHER}\n")[0] == 2
    assert olvido("new", "--role", "privacy", "--label", "Pol")[0] == 2
    assert olvido("password", "MARTA", typed=f"{OTHER}\n")[0] == 0
    (listed,) = json.loads(olvido("list")[1])["accounts"]
    assert (listed["label"], listed["password"], listed["tokens"]) == ("Marta", "privacy", 0)
    assert olvido("close", "Nobody")[0] == 2
    assert olvido("close", "Marta")[0] == 0
    assert accounts.password_of("Marta") is None
    assert [one["label"] for one in accounts.overview()] == ["Marta"]
