"""Every form of every page is filled and sent in a real browser, with the mouse and by keyboard."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from tests.service.conftest import listening

from olvido.accounts import Accounts
from olvido.ledger.facts import Ending, Exit, RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.service.app import application
from olvido.settings import Settings

from .chromium import Browser, installed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(installed() is None, reason="no Chromium is installed"),
]

MAIN = "document.querySelector('main').innerText"


@dataclass
class Desk:
    """Somebody who decides, before a browser that has just been opened."""

    address: str
    secret: str
    store: Store
    browser: Browser
    pressed: set[str]

    def open(self, path: str) -> None:
        self.browser.open(self.address + path)

    def press(self, form: str, **values: str) -> str:
        """Fill the form that goes to this path, press its button, and give what came."""
        browser, found = self.browser, f'form[action="{form}"]'
        self.pressed.add(form)
        browser.run(
            f"document.querySelector('{found}').closest('details')?.setAttribute('open','')"
        )
        for name, value in values.items():
            field = f'{found} [name="{name}"]'
            if browser.run(f"document.querySelector('{field}').matches('select, [type=date]')"):
                # Lists and calendars are the browser's own windows, which have no page to press on.
                browser.run(f"document.querySelector('{field}').value = '{value}'")
            else:
                browser.click(field)
                browser.type(value)
        browser.then(lambda: browser.click(f"{found} button"))
        return str(browser.run(MAIN))

    def here(self) -> str:
        return str(self.browser.run("location.pathname"))


@pytest.fixture
def desk(ready: Path, tmp_path: Path) -> Iterator[Desk]:
    shutil.copytree(ready, tmp_path / "ours")
    settings = Settings.load(tmp_path / "ours", environment={})
    _, secret = Accounts.of(settings).new("privacy", "Marta")
    with (
        listening(application([settings])) as address,
        Store.open(settings.ledger, key=Key.load(settings.key)) as store,
        Browser(tmp_path / "browser") as browser,
    ):
        browser.size(1280, 900)
        yield Desk(address, secret, store, browser, set())


def _every_form() -> set[str]:
    """Where the forms of all templates go, as a request of the tests has them."""
    found = set()
    for template in (files("olvido.service") / "templates").iterdir():
        text = template.read_text(encoding="utf-8").replace("{{ asked.id }}", "req-0001")
        acts = re.findall(r'\(\("(\w+)"|, \("(\w+)"', text)
        for action in re.findall(r'<form[^>]*action="([^"]*)"', text):
            named = [a or b for a, b in acts] if "{{ act }}" in action else [""]
            found |= {action.replace("{{ act }}", name) for name in named}
    return found


def test_every_form_is_sent_and_does_what_it_says(desk: Desk) -> None:
    desk.open("/")
    assert desk.here() == "/login"
    assert "Sign in" in desk.press("/login", token="olvido_of-another-house")
    desk.press("/login", token=desk.secret)
    assert desk.here() == "/"
    desk.press("/", status="refused")
    assert "0 refused" in desk.browser.run(MAIN)
    assert "No request has that number" in desk.press("/search", text="Nobody Known")
    assert "1 in all" in desk.press("/search", text="Núria Puig")
    desk.open("/requests/new")
    assert "No record" in desk.press("/requests", subject="Nobody Known")
    desk.open("/requests/new")
    filed = desk.press("/requests", subject="Pau Vila", also="pau@example.org", law="gdpr")
    assert "req-0002 is entered" in filed

    def at() -> Any:
        return desk.store.request("req-0001")

    def act(name: str, request: str = "req-0001", **values: str) -> str:
        desk.open(f"/requests/{request}")
        return desk.press(f"/requests/{request}/{name}", **values)

    act("identify")
    assert at().status is RequestStatus.IDENTIFIED
    act("note", text="the copy of the card is asked for")
    assert at().notes[-1].text == "the copy of the card is asked for"
    act("owner")
    assert at().owner is not None
    act("wait", why="the copy cannot be read", need="clarification")
    assert at().status is RequestStatus.NEEDS_INPUT
    act("resume")
    act("wait", why="a holiday", until="2030-01-31")
    assert at().history[-1].detail["until"] == "2030-01-31"
    act("resume")
    act("extend", why="many models")
    assert "extended" in at().history[-1].detail
    desk.store.advance_request("req-0001", RequestStatus.LOCATED)
    chosen = {"order": [], "because": "so"}
    plan = {"model": desk.store.model("serving").id, "routes": [], "chosen": chosen}
    desk.store.advance_request("req-0001", RequestStatus.PLANNED, plan)
    act("approve")
    assert at().status is RequestStatus.APPROVED
    act("cancel", why="a mistake")
    assert at().status is RequestStatus.CANCELLED
    desk.store.advance_request("req-0001", RequestStatus.PLANNED, plan)
    act("refuse", why="it is somebody else's")
    assert at().status is RequestStatus.REFUSED
    letter = act("letter", language="en", reason="It is not yours.")
    assert "We have decided not to do what you asked" in " ".join(letter.split())
    assert [one.detail["kind"] for one in desk.store.events("notice-written")] == ["refused"]
    for status in ("located", "planned", "approved", "running", "audited", "published"):
        desk.store.advance_request("req-0002", RequestStatus(status))
    desk.store.put_closure("req-0002", {"backups": Ending(None), "recipients": Ending(None)})
    act("exit", "req-0002", item="backups", exit="awaiting-expiry", until="2030-01-31")
    act("exit", "req-0002", item="recipients", exit="erased", why="there are none")
    told = {one.item: one.ending for one in desk.store.closure("req-0002")}
    assert told == {
        "backups": Ending(Exit.AWAITING_EXPIRY, "2030-01-31"),
        "recipients": Ending(Exit.ERASED, "there are none", by_word=True),
    }
    desk.open("/requests/new")
    desk.press("/requests", subject="Pau Vila", kind="access")
    act("identify", "req-0003")
    desk.store.advance_request("req-0003", RequestStatus.LOCATED, {"exported": {"document": "x"}})
    act("close", "req-0003")
    assert desk.store.request("req-0003").status is RequestStatus.CLOSED
    desk.open("/requests/new")
    asked = {"subject": "Pau Vila", "kind": "rectification", "dataset": "notes", "record": "r2"}
    desk.press("/requests", **asked)
    act("identify", "req-0004")
    act("correct", "req-0004", rows='{"id": "r2", "completion": "At nine."}')
    assert desk.store.dataset("notes").version == 2
    desk.press("/logout")
    assert desk.here() == "/login"
    desk.open("/")
    assert desk.here() == "/login"
    assert {re.sub(r"req-\d+", "req-0001", form) for form in desk.pressed} == _every_form()


def test_a_request_is_entered_with_the_keyboard_alone(desk: Desk) -> None:
    browser = desk.browser
    desk.open("/login")
    _tab_to(browser, "token")
    browser.type(desk.secret)
    browser.then(lambda: browser.key("Enter"))
    for link in ("Requests", "New request"):
        _tab_to(browser, link)
    browser.then(lambda: browser.key("Enter"))
    assert desk.here() == "/requests/new"
    _tab_to(browser, "subject")
    browser.type("Pau Vila")
    _tab_to(browser, "law")
    browser.key("ArrowDown")
    _tab_to(browser, "Enter request")
    browser.then(lambda: browser.key("Enter"))
    assert "req-0002 is entered" in browser.run(MAIN)
    assert desk.store.request("req-0002").law is not None


def _tab_to(browser: Browser, wanted: str) -> None:
    for _ in range(40):
        browser.key("Tab")
        focused = browser.run("document.activeElement.id || document.activeElement.innerText")
        if focused == wanted:
            return
    raise AssertionError(f"{wanted} is not reached by keyboard")
