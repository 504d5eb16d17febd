"""What a change touches is tested in the first tier, and what a run shares is made once."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.sharing import ROOT, Shared
from tests.tiers import touched_tests


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose `main` has a module and its tests."""
    for name in ("src/olvido/ledger/digests.py", "tests/ledger/test_digests.py", "README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    commit(tmp_path)
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True)


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--no-verify", "--message", "Change")


def test_a_changed_module_touches_its_tests_committed_or_not(repository: Path) -> None:
    assert touched_tests(repository) == set()
    git(repository, "switch", "--quiet", "--create", "work")
    (repository / "src/olvido/ledger/digests.py").write_text("changed")
    assert touched_tests(repository) == {"tests/ledger/test_digests.py"}
    commit(repository)
    assert touched_tests(repository) == {"tests/ledger/test_digests.py"}
    (repository / "README.md").write_text("changed")
    assert touched_tests(repository) == {"tests/ledger/test_digests.py"}


def test_a_new_test_touches_itself(repository: Path) -> None:
    (repository / "tests/test_new.py").touch()
    assert touched_tests(repository) == {"tests/test_new.py"}


def test_without_a_repository_nothing_is_touched(tmp_path: Path) -> None:
    assert touched_tests(tmp_path) == set()


def test_what_is_shared_is_made_once_whoever_asks_first(tmp_path: Path) -> None:
    made = []

    def make() -> list[int]:
        made.append(1)
        return [len(made)]

    with ThreadPoolExecutor(4) as several:
        found = list(several.map(lambda _: Shared(tmp_path / "run").value(make), range(8)))
    assert (found, made) == ([[1]] * 8, [1])


def test_another_input_makes_another_thing(tmp_path: Path) -> None:
    shared = Shared(tmp_path)
    assert [shared.value(lambda n=n: n, n) for n in (1, 2, 1)] == [1, 2, 1]


def test_functions_of_one_name_in_two_files_make_two_things(tmp_path: Path) -> None:
    shared, found = Shared(tmp_path), []
    for number, folder in enumerate(("methods", "requests")):
        names: dict[str, Any] = {}
        file = ROOT / "tests" / folder / "conftest.py"
        exec(compile(f"def brief(): return {number}", str(file), "exec"), names)
        found.append(shared.value(names["brief"]))
    assert found == [0, 1]


def test_what_was_left_half_made_is_made_anew(tmp_path: Path) -> None:
    shared, tries = Shared(tmp_path), []

    def make(folder: Path) -> None:
        tries.append(folder)
        assert list(folder.iterdir()) == []
        (folder / "half").touch()
        if len(tries) == 1:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        shared.folder(make)
    assert shared.folder(make) == shared.folder(make) == tries[0] == tries[1]
    assert len(tries) == 2
