"""The distribution: what the wheel holds, and that the core needs no package of an extra."""

from __future__ import annotations

import subprocess
import tomllib
import zipfile
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from olvido.extras import EXTRAS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
Install = Callable[[Iterable[str]], Path]


@pytest.fixture(scope="module")
def core(install: Install) -> Path:
    return install(())


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("olvido/")}
    tree = (ROOT / "src" / "olvido").rglob("*")
    files = {str(path.relative_to(ROOT / "src")) for path in tree if path.is_file()}
    assert held == {name for name in files if "__pycache__" not in name}
    assert "olvido/py.typed" in held


@pytest.mark.slow
def test_the_core_works_without_any_extra(core: Path, tmp_path: Path) -> None:
    script = Path(__file__).with_name("core.py")
    command = [str(core / "bin" / "python"), "-I", str(script)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-4000:]


@pytest.mark.slow
def test_the_command_says_which_extra_is_missing(core: Path, tmp_path: Path) -> None:
    def olvido(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(core / "bin" / "olvido"), *words]
        environment = {"COLUMNS": "200"}
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    shown = olvido("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    for extra in ("service", "report"):
        assert f"pip install 'olvido[{extra}]'" in shown.stdout
    assert olvido("methods", "--json").returncode == 0
    refused = olvido("init")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert len(refused.stderr.splitlines()) == 1
    assert "pip install 'olvido[service]'" in refused.stderr


def test_every_extra_of_the_table_is_one_of_the_distribution() -> None:
    """Each names the modules that its requirements bring, so that none is told wrongly."""
    homes = metadata.packages_distributions()
    declared = PROJECT["optional-dependencies"]
    assert set(EXTRAS) == set(declared) - {"dev", "docs"}
    for name, extra in EXTRAS.items():
        wanted = {Requirement(text).name.lower() for text in declared[name]}
        installed = [module for module in extra.modules if module in homes]
        brought = {home.lower() for module in installed for home in homes[module]}
        assert brought <= wanted, f"{name}: {brought - wanted}"
        if len(installed) == len(extra.modules):
            assert brought == wanted, f"{name}: {wanted - brought}"
