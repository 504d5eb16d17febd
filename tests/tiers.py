"""Which tests a change touches: they run in the first tier, however long they take."""

from __future__ import annotations

import subprocess
from pathlib import Path, PurePosixPath

MAIN = "main"


def touched_tests(root: Path) -> set[str]:
    """Return the test files that differ from `main`, or whose module does.

    Files of tests mirror the source: `src/olvido/a/b.py` is tested by `tests/a/test_b.py`. Where
    there is no repository, or no `main` in it, nothing is touched.

    Returns:
        Paths from the root with forward slashes, as in the ids of tests.
    """
    tests = set()
    for name in _changed(root):
        path = PurePosixPath(name)
        if name.startswith("tests/"):
            tests.add(name)
        elif name.startswith("src/olvido/"):
            tests.add(str("tests" / path.relative_to("src/olvido").with_name(f"test_{path.name}")))
    return tests


def _changed(root: Path) -> set[str]:
    """Return files that were committed since `main` or are not committed yet, new ones too."""
    base = _git(root, "merge-base", "HEAD", MAIN)
    if not base:
        return set()
    new = _git(root, "ls-files", "--others", "--exclude-standard")
    return {*_git(root, "diff", "--name-only", *base), *new}


def _git(root: Path, *arguments: str) -> list[str]:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:  # A machine without git: see `touched_tests`.
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []
