"""What an issuer with key and log might sign: both verifiers refuse it, and believe the same.

The forgeries stand in `vectors.json`, each as changes to an honest certificate, for whoever writes
a third verifier.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from olvido.ledger.digests import canonical_json, merkle_root
from olvido.ledger.facts import now
from olvido.ledger.signing import LogCheckpoint, SigningKey, public_file
from olvido.ledger.store.log import commit
from olvido.requests.certificate import check
from olvido.requests.certificate.check import KIND, detail_of, seal
from olvido.requests.certificate.claims import utility
from olvido.requests.certificate.issue import statement_about, statement_core

from .conftest import NEVER, answered, audit_of, destroyed, finding

Core = dict[str, Any]
VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text("utf-8"))
FORGED, HONEST = VECTORS["forgeries"], VECTORS["honest"]


class Issuer:
    """Has a key and a log of its own, and signs whatever it likes."""

    def __init__(self, folder: Path, second: ModuleType) -> None:
        self.key, self._second = SigningKey.create(folder / "issuer.key"), second
        self._pem = public_file(folder / "issuer.key").read_bytes()
        self.cores = {name: made(folder) for name, made in BASES.items()}

    def believed(self, core: Core, at: str | None = None) -> tuple[list[str], list[str]]:
        """Reasons not to, by Olvido and by the verifier that shares no code with it."""
        at, salt = at or now().isoformat(), bytes(32)
        leaf = commit(salt, 1, at, KIND, canonical_json(detail_of(core)).decode()).raw
        note = LogCheckpoint.sign(1, merkle_root([leaf]), self.key).note
        log = {"index": 0, "at": at, "salt": salt.hex(), "proof": [], "checkpoint": note}
        envelope = seal(statement_about(core, log), self.key)
        ours = check(copy.deepcopy(envelope), self.key.public).reasons
        return list(ours), self._second.check(envelope, self._pem)


def _answered(folder: Path, *, exact: bool) -> Core:
    case = answered(folder / f"{exact}", exact=exact)
    with case.workspace as workspace:
        return statement_core(workspace, workspace.store.request("req-0001"))


def _destroyed(folder: Path) -> Core:
    case = answered(folder / "destroyed", exact=False)
    with case.workspace as workspace:
        return statement_core(workspace, destroyed(case))


BASES: dict[str, Callable[[Path], Core]] = {
    "empirical": lambda folder: _answered(folder, exact=False),
    "exact": lambda folder: _answered(folder, exact=True),
    "destroyed": _destroyed,
}


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory, second: ModuleType) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("issuer"), second)


def at(core: Any, path: str) -> Any:
    for name in path.split("/"):
        core = core[int(name) if isinstance(core, list) else name]
    return core


def put(core: Core, path: str, value: Any) -> None:
    *way, last = path.split("/")
    inside = at(core, "/".join(way)) if way else core
    inside[int(last) if isinstance(inside, list) else last] = value


def meant(core: Core, path: str, value: Any) -> Any:
    """The value that a vector puts in a place."""
    match value:
        case {"copy of": other}:
            return copy.deepcopy(at(core, other))
        case {"keep audits": names}:
            return [found for found in at(core, path) if found["audit"] in names]
        case {"without audit": name}:
            return [found for found in at(core, path) if found["audit"] != name]
        case {"years before": [other, years]}:
            day = datetime.fromisoformat(at(core, other)) - timedelta(days=365 * years)
            return day.isoformat()
        case {"years after": years}:
            return (now() + timedelta(days=365 * years)).date().isoformat()
        case dict():
            return {name: meant(core, path, inside) for name, inside in value.items()}
        case list():
            return [meant(core, path, inside) for inside in value]
    return value


def changed(core: Core, changes: dict[str, Any]) -> Core:
    made = copy.deepcopy(core)
    for path, value in changes.items():
        put(made, path, meant(core, path, value))
    return made


@pytest.mark.parametrize("vector", FORGED, ids=[one["name"] for one in FORGED])
def test_neither_verifier_believes_a_forgery(issuer: Issuer, vector: dict[str, Any]) -> None:
    forged = changed(issuer.cores[vector["base"]], vector["set"])
    ours, theirs = issuer.believed(forged, vector.get("log"))
    assert ours
    assert theirs


@pytest.mark.parametrize("vector", HONEST, ids=[one["name"] for one in HONEST])
def test_both_verifiers_believe_what_is_honest(issuer: Issuer, vector: dict[str, Any]) -> None:
    core = changed(issuer.cores[vector["base"]], vector["set"])
    assert issuer.believed(core) == ([], [])


def test_exact_with_an_audit_that_failed_is_not_believed(issuer: Issuer) -> None:
    core = issuer.cores["exact"]
    models = core["models"]
    for found, holds in (
        (finding("recall", "ROUGE-L", value=0.5, p=1e-6, interval=(0.38, 0.5)), False),
        (finding("recall", "ROUGE-L"), True),
    ):
        audit = audit_of(models["after"]["weights"], models["before"]["weights"], found)
        for one in audit["findings"]:
            del one["exhibit"]
        for name in ("seconds", "type", "version"):
            del audit[name]
        seen = {"audit": audit, "utility": utility(audit)}
        seen["references"] = [{"digest": str(one), "seed": 1} for one in NEVER]
        ours, theirs = issuer.believed(core | seen)
        assert (not ours, not theirs) == (holds, holds)


def paths(value: Any, before: str = "") -> list[str]:
    """Where everything stands in a certificate."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for name, inside in items:
        found.append(f"{before}{name}")
        if isinstance(inside, (dict, list)):
            found += paths(inside, f"{before}{name}/")
    return found


ODD = st.sampled_from(
    [
        *(None, True, False, 0, 1, -1, 3, 30, 0.0, 0.5, 1.0, -0.25, 1e300, 2**53 - 1),
        *("", "pass", "fail", "silent", "unknown", "exact", "before", "erased", "2026-01-01"),
        *("recall", "standard", "Ana Soler", "<b>", "\x00", "sha256:" + "a" * 64, "0" * 12),
        *("2026-01-01T00:00:00+00:00", "٢٠٢٦", [], {}, [None], [0.0, 1.0], {"a": "b"}),
    ]
)


@pytest.mark.slow
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_is_changed_both_verifiers_say_the_same(issuer: Issuer, data: Any) -> None:
    core = copy.deepcopy(issuer.cores[data.draw(st.sampled_from(sorted(BASES)))])
    for _ in range(data.draw(st.integers(1, 2))):
        # What the envelope is made of has to be there.
        there = [
            path for path in paths(core) if not path.startswith("models") and path != "request"
        ]
        value = data.draw(
            st.one_of(ODD, st.sampled_from(there).map(lambda path: copy.deepcopy(at(core, path))))
        )
        put(core, data.draw(st.sampled_from(there)), value)
    ours, theirs = issuer.believed(core)
    assert bool(ours) == bool(theirs), (ours, theirs)


def test_a_log_of_another_day_is_told_by_both(issuer: Issuer) -> None:
    core = issuer.cores["empirical"]
    for days, holds in ((-1, False), (0, True), (2, False), (36500, False)):
        day = (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)
        ours, theirs = issuer.believed(core, day.isoformat())
        assert (not ours, not theirs) == (holds, holds), days
