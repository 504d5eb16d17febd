"""The wheel, built once and installed where only some of the packages are."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
collect_ignore = ["core.py"]
Install = Callable[[Iterable[str]], Path]
"""Makes an environment with the wheel and the packages of these extras; returns its folder."""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as `python -m build` makes it from the source tree."""
    out = tmp_path_factory.mktemp("wheel")
    command = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    built = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="session")
def install(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Install:
    """An environment that has the wheel and what it requires, and nothing else of this one."""

    def make(extras: Iterable[str]) -> Path:
        folder = tmp_path_factory.mktemp("installed")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        command = ["--python", str(folder / "bin" / "python"), "install", "--quiet", "--no-index"]
        subprocess.run([*pip, *command, "--no-deps", str(wheel)], check=True)
        (packages,) = folder.glob("lib/python*/site-packages")
        (about,) = packages.glob("olvido-*.dist-info/METADATA")
        required = re.findall(r"^Requires-Dist: (.*)$", about.read_text("utf-8"), re.M)
        for name in _closure(required, {"", *extras}):
            for part in {path.parts[0] for path in metadata.files(name) or () if path.parts}:
                here = Path(str(metadata.distribution(name).locate_file(part)))
                there = packages / part
                if part not in ("..", "__pycache__") and here.exists() and not there.exists():
                    there.symlink_to(here)
        return folder

    return make


def _closure(required: Iterable[str], extras: Iterable[str]) -> set[str]:
    """The distributions that these requirements bring, with those that they require in turn."""
    found: set[str] = set()
    asked = [(Requirement(text), frozenset(extras)) for text in required]
    seen = set()
    while asked:
        requirement, within = asked.pop()
        marker = requirement.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in within):
            continue
        key = (requirement.name, frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        found.add(requirement.name)
        further = frozenset({"", *requirement.extras})
        asked += [(Requirement(t), further) for t in metadata.requires(requirement.name) or ()]
    return found
