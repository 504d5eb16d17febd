"""The public names: all there, and none of them heavy until it is used."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

import olvido

HEAVY = ("torch", "transformers", "accelerate", "peft", "sklearn", "pyarrow", "sqlalchemy")


@pytest.mark.parametrize("name", olvido.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(olvido, name).__doc__


def test_public_names_are_listed_in_order_and_once() -> None:
    assert olvido.__all__ == sorted(set(olvido.__all__))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'olvido' has no attribute 'forgett'"):
        _ = olvido.forgett  # type: ignore[attr-defined]


@pytest.mark.slow
def test_importing_olvido_imports_nothing_heavy() -> None:
    code = (
        "import sys, olvido; "
        f"print([name for name in {HEAVY!r} if name in sys.modules]); "
        "olvido.Recipe; print('torch' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.split("\n")[:2] == ["[]", "True"]


def test_the_version_is_the_distribution_s() -> None:
    try:
        installed = metadata.version("olvido")
    except metadata.PackageNotFoundError:
        pytest.skip("olvido runs from its source folder, not installed")
    assert olvido.__version__ == installed
