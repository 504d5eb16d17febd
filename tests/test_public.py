"""The public names: all there, and none of them heavy until it is used."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module, metadata, resources
from pathlib import Path
from types import ModuleType

import pytest

import olvido

HEAVY = ("torch", "transformers", "accelerate", "peft", "sklearn", "pyarrow", "sqlalchemy")


NAMESPACES = {
    name: import_module(f"olvido.{name}")
    for name in ("audits", "errors", "learners", "methods", "tasks")
}
DOCS = (Path(__file__).parents[1] / "docs" / "how-to" / "extend.md").read_text("utf-8")


@pytest.mark.parametrize("name", olvido.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(olvido, name).__doc__


@pytest.mark.parametrize("space", NAMESPACES)
def test_a_namespace_is_public_and_says_what_is(space: str) -> None:
    module = NAMESPACES[space]
    assert getattr(olvido, space) is module
    assert space in olvido.__all__
    assert f"`olvido.{space}`" in DOCS
    assert module.__all__ == sorted(set(module.__all__))
    for name in module.__all__:
        value = getattr(module, name)
        # What is exported is Olvido's own, and no module that is there by chance.
        assert not isinstance(value, ModuleType)
        assert not name.startswith("_")
        if isinstance(value, type):
            assert value.__module__.startswith("olvido."), name
            assert value.__doc__, name


def test_what_is_public_in_olvido_has_its_home_in_a_namespace_or_in_no_other_place() -> None:
    """One object, one public name, but for those that both Olvido and a namespace name alike."""
    seen: dict[int, str] = {}
    for space, module in NAMESPACES.items():
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, type):
                assert seen.setdefault(id(value), name) == name, f"olvido.{space}.{name}"
    for name in olvido.__all__:
        value = getattr(olvido, name)
        assert seen.get(id(value), name) == name


def test_each_part_of_a_family_is_public_by_its_class() -> None:
    for space, table in (
        ("methods", "METHODS"),
        ("methods", "REGULARISERS"),
        ("audits", "AUDITS"),
        ("learners", "LEARNERS"),
        ("tasks", "TASKS"),
    ):
        module = NAMESPACES[space]
        family = getattr(module, table)
        for name in family.built_in:
            assert getattr(module, family[name].__name__) is family[name]


def test_the_package_is_typed() -> None:
    assert resources.files("olvido").joinpath("py.typed").is_file()


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
