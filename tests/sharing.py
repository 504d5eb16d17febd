"""What takes long to make is made once a run, by whichever process of it asks first.

A model that a fixture trains, or a workspace that learned one, is written to a folder of the whole
run and read from there by the other processes, so that tests need not be sent to one process
because they use the same model. Its name is a digest of all that decides what it is: the function
that makes it, what that was given, every line of Python in `src` and `tests` (recipes, seeds, towns
and the engine itself), and the versions of the packages that compute.

The folder lies beside the processes' temporary folders and leaves with them. OLVIDO_TEST_SHARED
names another one, so that two runs in a row (`make test`, `make test-rest`) share what they train.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import cloudpickle
import pytest
from filelock import FileLock

T = TypeVar("T")

ROOT = Path(__file__).parents[1]
PACKAGES = ("numpy", "peft", "safetensors", "tokenizers", "torch", "transformers")


class Shared:
    """The folder of what the processes of a run share.

    What is given back must not be changed by a test: others see the same folder, and the other
    tests of the process the same object.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def value(self, make: Callable[[], T], *given: Any) -> T:
        """Return what `make` returns, from the first process that called it.

        Args:
            make: a function without arguments. Its result can be pickled, and keeps nothing on the
                disk: a training with checkpoints of its own does.
            given: what `make` depends on beside the source, as values with a telling `repr`.
        """

        def written(folder: Path) -> None:
            # Models may carry hooks, which are functions within functions.
            (folder / "value").write_bytes(cloudpickle.dumps(make()))

        made: T = pickle.loads((self._made(make, written, given) / "value").read_bytes())
        return made

    def folder(self, make: Callable[[Path], object], *given: Any) -> Path:
        """Return a folder that `make` filled, in the first process that called it.

        `make` is called with the folder's final path, so paths written into files stay true.
        """
        return self._made(make, make, given)

    def _made(
        self, who: Callable[..., Any], make: Callable[[Path], object], given: tuple[Any, ...]
    ) -> Path:
        folder = self.root / _name(who, given)
        done = folder.with_suffix(".done")
        with FileLock(folder.with_suffix(".lock")):
            if not done.exists():
                # What a process left half made, because it failed or was ended, counts for nothing.
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                done.touch()
        return folder


def _name(make: Callable[..., Any], given: tuple[Any, ...]) -> str:
    code = make.__code__
    # The path and not the name alone: two conftest.py may each have a fixture of one name.
    file = str(Path(code.co_filename).relative_to(ROOT))
    place = (file, code.co_qualname, *map(repr, given))
    return hashlib.sha256("\0".join((*place, _source(), *_versions())).encode()).hexdigest()[:24]


@cache
def _source() -> str:
    """Return the digest of every line of Python in `src` and `tests`."""
    digest = hashlib.sha256()
    for folder in ("src", "tests"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            digest.update(str(file.relative_to(ROOT)).encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


@cache
def _versions() -> tuple[str, ...]:
    return (sys.version, *(f"{name} {version(name)}" for name in PACKAGES))


def shared_folder(temporary: pytest.TempPathFactory) -> Path:
    """Return the folder of a run: one for all its processes."""
    named = os.environ.get("OLVIDO_TEST_SHARED")
    if named:
        return Path(named)
    base = temporary.getbasetemp()
    # A process of several has a folder of its own, below the run's.
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
