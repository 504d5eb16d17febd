"""The small town of `towns`, in a workspace or on a big disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.requests.closure.towns import Town, founded, settled_at


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    made = founded(settled_at(tmp_path / "workspace"))
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
