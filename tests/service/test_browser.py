"""Every page in a real browser: on a desk and on a phone, nothing from elsewhere, nothing amiss."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.service.conftest import answered, listening

from olvido.accounts import Accounts, digest_of
from olvido.ledger.facts import Ending, Exit, RequestKind, RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.requests.rights.deadlines import terms
from olvido.requests.rights.registry import find_law
from olvido.service import status
from olvido.service.app import application
from olvido.service.authentication import COOKIE
from olvido.service.sessions import Sessions
from olvido.settings import Settings

from .chromium import WIDE, Browser, installed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(installed() is None, reason="no Chromium is installed"),
]

DESK, PHONE = (1280, 900), (375, 800)
PLAN = {
    "model": "0" * 12,
    "chosen": {"order": ["npo"], "because": "npo is the cheapest that can stand up to the audit"},
    "routes": [
        {
            "method": "npo",
            "guarantee": "empirical",
            "applies": True,
            "seconds": 41.0,
            "share_of_retraining": 0.08,
            "summary": "Push the records down as in preference learning.",
            "refusal": None,
        },
        {
            "method": "replay",
            "guarantee": "exact",
            "applies": False,
            "seconds": None,
            "share_of_retraining": None,
            "summary": "Replay the training without the records.",
            "refusal": "the model was trained without a log of its steps",
        },
    ],
}


@dataclass(frozen=True)
class Service:
    """A service that runs, and what lies behind it."""

    address: str
    settings: Settings
    pages: dict[str, str]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An answered request with its evidence, one that is planned, one that runs, and many more."""
    folder = tmp_path_factory.mktemp("service") / "workspace"
    made = answered(folder, exact=False)
    with Store.open(made.ledger, key=Key.load(made.key)) as store:
        _fill(store, made)
        follow = status.path(store.key, "req-0002")
        dataset, model = store.datasets()[0].id, store.models()[-1].id
    pages = {
        "inbox": "/",
        "filtered": "/?status=all&due=late&received=2026-11",
        "overview": "/overview",
        "request": "/requests/req-0001",
        "planned": "/requests/req-0002",
        "audit": "/requests/req-0001/audit",
        "certificate": "/requests/req-0001/certificate",
        "new": "/requests/new",
        "models": "/models",
        "model": f"/models/{model}",
        "data": "/data",
        "dataset": f"/data/{dataset}",
        "laws": "/laws",
        "log": "/log",
        "person": follow,
        "unknown": "/requests/req-9999",
    }
    app = application([made], asks=(10**6, 0.001))
    with listening(app) as address:
        yield Service(address, made, pages)


def _fill(store: Store, settings: Settings) -> None:
    items = {
        f"rows:{store.datasets()[0].id}": Ending(Exit.ERASED, "3 rows removed from their file"),
        f"model:{store.models()[0].id}": Ending(None),
        "file:reports/an-old-report-with-a-long-name-of-its-own.json": Ending(None),
        "backups": Ending(Exit.AWAITING_EXPIRY, "2027-01-31"),
        "recipients": Ending(None),
        "log": Ending(Exit.CANNOT, "holds no words and no name"),
    }
    store.put_closure("req-0001", items)
    for number in range(60):
        received = datetime.now(UTC) - timedelta(days=number)
        law = find_law(("gdpr", "ccpa", "lgpd")[number % 3], workspace=settings.workspace)
        store.add_request(
            RequestKind.ERASURE,
            subject=store.key.subject(f"somebody {number}"),
            law=law.name,
            detail=terms(law, settings),
            received_at=received,
        )
    for name in ("located", "planned"):
        for request in ("req-0002", "req-0003"):
            store.advance_request(request, RequestStatus(name), PLAN if name == "planned" else {})
    for name in ("approved", "running"):
        store.advance_request("req-0003", RequestStatus(name))


@pytest.fixture(scope="module")
def browser(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    _, secret = Accounts.of(service.settings).new("privacy", "Marta")
    with Browser(tmp_path_factory.mktemp("browser")) as made:
        sessions = Sessions(service.settings.key.with_name("sessions.json"))
        made.sign_in(service.address, COOKIE, sessions.begin(digest_of(secret)))
        yield made


def test_every_page_fits_a_desk_and_a_phone(
    service: Service, browser: Browser, tmp_path: Path
) -> None:
    """The pictures stay in the test's folder, to be looked at."""
    amiss = []
    for name, path in service.pages.items():
        for width, height in (DESK, PHONE):
            browser.size(width, height)
            browser.open(service.address + path)
            browser.picture(tmp_path / "pictures" / f"{name}-{width}.png")
            needs = browser.run("document.documentElement.scrollWidth")
            elsewhere = [u for u in browser.fetched if not u.startswith((service.address, "data:"))]
            # That a page does not exist is said by the browser, too.
            told = [line for line in browser.said if "404" not in line or name != "unknown"]
            found = {
                "wider than the window": needs > width and needs,
                "sticks out": browser.run(WIDE),
                "empty": browser.run("document.body.innerText.length") < 60,
                "fetched": elsewhere,
                "said": told,
            }
            amiss += [(name, width, what, seen) for what, seen in found.items() if seen]
    assert amiss == []
    assert len(list((tmp_path / "pictures").iterdir())) == 2 * len(service.pages)


def test_a_running_request_shows_how_far_it_is_without_being_asked(
    service: Service, browser: Browser
) -> None:
    browser.size(*DESK)
    browser.open(f"{service.address}/requests/req-0003")
    shown = "document.querySelector('#progress .lead').innerText"
    assert browser.run(shown) == "running"
    with Store.open(service.settings.ledger, key=Key.load(service.settings.key)) as store:
        store.advance_request("req-0003", RequestStatus.AUDITED)
        browser.wait(f"{shown} == 'audited'")
        store.advance_request("req-0003", RequestStatus.PUBLISHED)
        browser.wait(f"{shown} == 'published'")
    # Nothing moves any more, and nothing is asked any more.
    browser.fetched.clear()
    time.sleep(4)
    assert browser.run("document.querySelector('[hx-get]')") is None
    assert (browser.fetched, browser.said) == ([], [])
