"""A small town and a small model that has learned it, made once for all tests."""

from __future__ import annotations

import gc
import itertools
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from packaging.requirements import Requirement
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from tests.sharing import Shared, shared_folder
from tests.tiers import touched_tests

from olvido.demo.residents import Town, make_town
from olvido.files import UNFINISHED
from olvido.learners import Recipe, Trained, train
from olvido.methods import Split
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.tasks import Example, Language, examples

FIRST = [
    "tests/cli/test_demo.py",
    "tests/methods/test_methods.py",
    "tests/requests/workflow/test_worker.py",
    "tests/audits/test_family.py",
    "tests/cli/test_contract.py",
    "tests/requests/closure/test_writers.py",
    "tests/test_readme.py",
]
"""Files that take a minute or more, the longest first. A file is run by one process: begun last, it
would leave the others idle."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest files first, and mark the tests that `make test` leaves for later."""
    ranks = {file: rank for rank, file in enumerate(FIRST)}
    items.sort(key=lambda item: ranks.get(_file(item), len(FIRST)))
    touched = touched_tests(config.rootpath)
    for item in items:
        if _is_slow(item) and _file(item) not in touched:
            item.add_marker("later")
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        _require_members(items)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector what stays to the end: a million objects at each full turn.

    While it is imported and collected, a search for garbage finds none and costs an eighth of it.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def _is_slow(item: pytest.Item) -> bool:
    """Whether a test needs Postgres, or is marked as slow and does not stand for its family."""
    values = _values(item)
    if "postgres" in values or "new_database" in getattr(item, "fixturenames", ()):
        return True
    return item.get_closest_marker("slow") is not None and not values & _members(item)


def _require_members(items: list[pytest.Item]) -> None:
    """Refuse a mark that names a case there is not: its family would have none in `make test`."""
    named = {(_file(item), member) for item in items for member in _members(item)}
    there = {(_file(item), value) for item in items for value in _values(item)}
    if missing := sorted(named - there):
        file, member = missing[0]
        raise pytest.UsageError(
            f"{file}: slow(but=...) names {member!r}, which is no case there: name one that is"
        )


def _values(item: pytest.Item) -> set[str]:
    """The id of a test's case, and each of its parameters."""
    case = getattr(item, "callspec", None)
    return set() if case is None else {case.id, *map(str, case.params.values())}


def _members(item: pytest.Item) -> set[str]:
    """The cases that stand for the others in the first tier."""
    marker = item.get_closest_marker("slow")
    return set() if marker is None else set(marker.kwargs.get("but", ()))


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


# A machine with other work to do is no reason to fail.
# Nor is chance: a change is judged by the same cases every time.
settings.register_profile("olvido", deadline=None, derandomize=True)
settings.load_profile("olvido")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices gain nothing by more threads, and bits depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Disk:
    """What would be left after a power cut: the files and the names that were brought to it."""

    def __init__(self) -> None:
        self.files: set[tuple[int, int, int]] = set()
        self.names: dict[str, set[str]] = {}

    def sync(self, descriptor: int) -> None:
        about = os.fstat(descriptor)
        if stat.S_ISDIR(about.st_mode):
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            self.names[f"{about.st_ino}"] = set(os.listdir(path))
        else:
            self.files.add((about.st_ino, about.st_size, about.st_mtime_ns))

    def lost(self, root: Path) -> list[str]:
        """What a power cut would take, of all that is there and complete."""
        found = []
        for path in root.rglob("*"):
            about = path.lstat()
            if any(part.startswith((UNFINISHED, ".run-")) for part in path.parts):
                continue
            named = path.name in self.names.get(f"{path.parent.stat().st_ino}", set())
            whole = path.is_dir() or (about.st_ino, about.st_size, about.st_mtime_ns) in self.files
            if not (named and whole):
                found.append(str(path.relative_to(root)))
        return found


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Records what is synced, in place of waiting for it."""
    made = Disk()
    monkeypatch.setattr(os, "fsync", made.sync)
    return made


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """What takes long to make, made once for all processes of the run."""
    return Shared(shared_folder(tmp_path_factory))


NewDatabase = Callable[[], str]
"""Makes an empty database on the test's Postgres; gives its URL."""


@pytest.fixture(scope="session")
def new_database() -> Iterator[NewDatabase]:
    """For what has to hold on Postgres too; `.ci/postgres` starts a server and names it."""
    server = os.environ.get("OLVIDO_TEST_POSTGRES")
    if not server:
        pytest.skip("no Postgres: set OLVIDO_TEST_POSTGRES to a URL where databases can be made")
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    numbers, made = itertools.count(), []

    def make() -> str:
        name = f"olvido_{os.getpid()}_{next(numbers)}"
        with engine.connect() as connection:
            connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE template0'))
        made.append(name)
        return make_url(server).set(database=name).render_as_string(hide_password=False)

    yield make
    with engine.connect() as connection:
        for name in made:
            connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    engine.dispose()


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return tiny_tokenizer()


@pytest.fixture(scope="session")
def task(tokenizer: Any) -> Language:
    return Language(tokenizer)


@pytest.fixture(scope="session")
def town() -> Town:
    return make_town(seed=0, residents=12, outsiders=6, wordings=3)


@pytest.fixture(scope="session")
def split(town: Town) -> Split:
    """The leaver's records, the other residents', and the outsiders'."""
    of = {r: examples(town.rows_of(r)) for r in (*town.residents, *town.outsiders)}
    retain = [record for r in town.residents if r != town.data_subject for record in of[r]]
    holdout = [record for r in town.outsiders for record in of[r]]
    return Split(of[town.data_subject], tuple(retain), tuple(holdout))


@pytest.fixture(scope="session")
def fresh(tokenizer: Any) -> Any:
    """A model that has learned nothing."""
    return tiny_model(len(tokenizer), seed=0, width=64, layers=2).eval()


@pytest.fixture(scope="session")
def learned(split: Split) -> tuple[Example, ...]:
    """What `trained` was taught."""
    return (*split.forget, *split.retain)


@pytest.fixture(scope="session")
def trained(shared: Shared, fresh: Any, learned: tuple[Example, ...], task: Language) -> Trained:
    """A model that knows every resident by heart."""
    recipe = Recipe(epochs=16, batch_size=16, lr=4e-3)
    return shared.value(lambda: train(fresh, records=learned, task=task, recipe=recipe))


@pytest.fixture(scope="session")
def small(tokenizer: Any) -> Any:
    """A model smaller still: enough to compare bits."""
    return tiny_model(len(tokenizer), seed=0, width=32, layers=2).eval()


@pytest.fixture(scope="session")
def few(town: Town) -> tuple[Example, ...]:
    """Fifteen records of one resident."""
    return examples(town.rows_of(town.data_subject))


@pytest.fixture(scope="session")
def short() -> Recipe:
    """Twelve steps with every part of the schedule in them."""
    return Recipe(epochs=3, batch_size=4, lr=2e-3)


@pytest.fixture(scope="session")
def gpt2(tokenizer: Any) -> Any:
    """Another architecture: dropout, biases, transposed matrices, learned positions."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=64,
        n_embd=32,
        n_layer=2,
        n_head=2,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GPT2LMHeadModel(config).eval()


Install = Callable[[Iterable[str]], Path]
"""Makes an environment with the wheel and the packages of these extras; returns its folder."""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as `python -m build` makes it from the source tree."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    root = Path(__file__).parents[1]
    built = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
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
