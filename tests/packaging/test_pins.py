"""The pinned versions, their hashes and their licences are of the same packages."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def _pins(file: str) -> dict[str, str]:
    lines = (ROOT / file).read_text("utf-8").splitlines()
    pins = [line.split()[0].split("==") for line in lines if not line.startswith("#")]
    # torch's build for CPUs is the same release.
    return {name: version.partition("+")[0] for name, version in pins}


def test_every_pinned_version_has_a_hash() -> None:
    locked = _pins("requirements.lock")
    assert {name: locked.get(name) for name in _pins("constraints.txt")} == _pins("constraints.txt")


def test_every_requirement_is_pinned_within_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    pins = _pins("constraints.txt")
    asked = [Requirement(text) for text in project["dependencies"]]
    # MLflow is the one extra that the tests do without.
    asked += [Requirement(t) for name, some in extras.items() if name != "mlflow" for t in some]
    for requirement in asked:
        name = canonicalize_name(requirement.name)
        if name != "olvido":
            assert name in pins, requirement
            assert requirement.specifier.contains(pins[name]), f"{requirement}, {pins[name]}"


def test_the_notice_names_the_licence_of_every_pinned_package() -> None:
    notice = (ROOT / "NOTICE").read_text("utf-8").partition("constraints.txt:")[2]
    named = set(re.findall(r"[a-z0-9][a-z0-9-]*", notice.lower()))
    assert set(_pins("constraints.txt")) - named == set()
