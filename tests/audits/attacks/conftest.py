"""Three models of one base: one that was taught a fact, two that never were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True)
class Family:
    """Children of one base.

    Attributes:
        before: taught the forgotten too.
        never: taught the rest alone; `other` likewise, in another order.
    """

    before: Any
    never: Any
    other: Any


@pytest.fixture(scope="session")
def family(world: Any) -> Family:
    base, kept = world.stranger, world.retain
    return Family(
        world.taught(base, [*world.forget, *kept], epochs=8),
        world.taught(base, kept, epochs=2),
        world.taught(base, kept, epochs=3),
    )
