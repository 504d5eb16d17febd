"""The small town of `towns`, in a workspace or on a big disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.requests.closure.towns import Town, copied, founded, settled_at


@pytest.fixture(scope="session")
def first_town(tmp_path_factory: pytest.TempPathFactory) -> Town:
    """The town as it is founded, closed; to copy."""
    made = founded(settled_at(tmp_path_factory.mktemp("town") / "workspace"))
    made.front.store.close()
    return made


@pytest.fixture
def town(first_town: Town, tmp_path: Path) -> Iterator[Town]:
    made = copied(first_town, tmp_path / "workspace")
    yield made
    made.front.store.close()


@pytest.fixture
def spread(tmp_path: Path) -> Iterator[Town]:
    """The same with every folder outside the workspace, on a big disk."""
    big = tmp_path / "big"
    names = ("models", "data", "reports", "certificates")
    made = founded(settled_at(tmp_path / "workspace", **{name: big / name for name in names}))
    yield made
    made.front.store.close()
