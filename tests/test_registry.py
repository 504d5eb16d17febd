"""A family: what a name, a class and an object mean, and what installed packages may bring."""

from __future__ import annotations

import sys
import textwrap
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from olvido.audits import AUDITS
from olvido.errors import InputError, UnknownName
from olvido.learners import LEARNERS
from olvido.methods import (
    METHODS,
    NPO,
    REGULARISERS,
    Descent,
    Divergence,
    HiddenStatePenalty,
    Method,
)
from olvido.registry import Options, Registry, name_of, options_of, plain, settings
from olvido.tasks import TASKS, Labels, Language, task_of

FAMILIES: tuple[Registry[Any], ...] = (METHODS, AUDITS, LEARNERS, TASKS, REGULARISERS)


class Plain:
    """Options in a constructor of its own, the base's among them."""

    name: ClassVar = "plain"
    guarantee = needs = summary = cost = run = None

    def __init__(self, *, gain: float = 1.0, layers: Any = None) -> None:
        self.gain, self.layers = gain, layers


class Twice(Plain):
    """Takes what its base takes."""

    def __init__(self, *, times: int = 2, **options: Any) -> None:
        super().__init__(**options)
        self.times = times


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.kind)
def test_each_built_in_class_is_whole_and_known_by_its_own_name(family: Registry[Any]) -> None:
    assert family.built_in
    for name in family.built_in:
        kind = family[name]
        assert kind.name == name == name_of(kind)
        assert kind.__doc__
        assert family.find(name) is family.find(kind) is kind
        if family.made:
            made = family.make(name)
            assert family.make(made) is made
            assert type(family.make(kind)) is kind
            # It keeps each option under its name, and differs from its defaults in none.
            assert settings(made) == {}
            if issubclass(kind, Options):
                assert repr(made) == f"{kind.__name__}()"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.kind)
def test_what_is_none_of_the_family_is_refused(family: Registry[Any]) -> None:
    name = family.built_in[0]
    with pytest.raises(UnknownName, match=f"did you mean '{name}'"):
        family.find(name + "x")
    for given in (3, int, object()):
        with pytest.raises(InputError, match=rf"a class or an object \({family.kind}\), got"):
            family.find(given)


def test_options_are_checked_by_name_and_belong_to_the_constructor() -> None:
    assert METHODS.make(NPO, {"beta": 0.2}).beta == 0.2  # type: ignore[attr-defined]
    for given in ("npo", NPO):
        with pytest.raises(UnknownName, match="option of npo 'betta': did you mean 'beta'"):
            METHODS.make(given, {"betta": 1})
    with pytest.raises(InputError, match=r"too late for an object.*NPO\(\.\.\.\)"):
        METHODS.make(NPO(), {"beta": 1})
    with pytest.raises(TypeError, match="betta"):
        NPO(betta=1)  # type: ignore[call-arg]


def test_what_differs_from_the_defaults_is_recorded() -> None:
    assert settings(NPO(beta=0.1)) == {}
    made = NPO(beta=0.2, regulariser=[Divergence, HiddenStatePenalty(layer=3)])
    assert settings(made) == {
        "beta": 0.2,
        "regulariser": ["kl", {"name": "hidden", "options": {"layer": 3}}],
    }
    assert "beta=0.2" in repr(made)
    assert settings(Twice(gain=3.0)) == {"gain": 3.0}
    assert options_of(Twice) == {"times": int, "gain": float, "layers": Any}
    # Type matters: 1 is not True, and 1.0 may be another than 1.
    assert settings(Plain(gain=True)) == {"gain": True}


def test_a_class_without_a_name_in_the_table_is_recorded_by_module_and_class() -> None:
    assert name_of(Plain()) == f"{Plain.__module__}:Plain"

    class Unnamed(NPO):
        pass

    # It inherits a name that is another's.
    assert name_of(Unnamed()).endswith("Unnamed")
    assert METHODS.name_of(Unnamed) == name_of(Unnamed())


def test_what_no_document_can_hold_is_refused_with_its_name() -> None:
    assert plain({"a": [1, (2.5, None)], "b": {"c": "d"}}, "x") == {
        "a": [1, [2.5, None]],
        "b": {"c": "d"},
    }
    for value in (object(), {1: 2}, [{"a": {3}}]):
        with pytest.raises(InputError, match="the option 'layers' of mine is a"):
            plain({"layers": value}, "mine")

    class Forgetful(Plain):
        def __init__(self, *, strength: float = 1.0) -> None:
            """Keeps nothing."""

    with pytest.raises(InputError, match=r"set self\.strength in its constructor"):
        settings(Forgetful())


def test_a_class_may_be_put_into_the_table_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "plain", Plain)
    assert isinstance(METHODS.make("plain", {"gain": 2.0}), Plain)
    assert METHODS.options("plain") == {"gain": float}
    assert "plain" not in METHODS.built_in
    assert name_of(Plain) == "plain"

    class Lacking:
        name = "lacking"

    with pytest.raises(InputError, match="Lacking is no method, it lacks guarantee, needs"):
        METHODS["lacking"] = Lacking  # type: ignore[assignment]

    class Bare(Descent):
        summary = "an option without a default"

        def __init__(self, *, rate: float) -> None:
            super().__init__()

    with pytest.raises(InputError, match="'rate' of Bare has none"):
        METHODS["bare"] = Bare


def test_a_field_is_an_option_and_what_is_no_field_is_none() -> None:
    class Mine(Options):
        by: int = 1
        kept: ClassVar[int] = 2
        plain = 3

    assert options_of(Mine) == {"by": int}
    assert repr(Mine(by=4)) == "Mine(by=4)"


Installed = Callable[[Mapping[str, Mapping[str, str]], str], None]
"""Makes a package importable: entry points by group and name, and its module's text."""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def install(package: str, points: Mapping[str, str], text: str) -> None:
        site = tmp_path / package
        site.mkdir()
        (site / f"{package}.py").write_text(textwrap.dedent(text))
        info = site / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        told = "".join(f"{name} = {value}\n" for name, value in points.items())
        (info / "entry_points.txt").write_text(f"[olvido.methods]\n{told}")
        monkeypatch.syspath_prepend(str(site))
        # Another test may have brought a module of that name.
        monkeypatch.delitem(sys.modules, package, raising=False)

    return install


def family() -> Registry[Method]:
    """The methods, read anew."""
    return Registry("method", METHODS.pieces, home=METHODS.home, group="olvido.methods")


FLAT = """
    from olvido.methods import Descent
    class Flat(Descent):
        name = "flat"
        summary = "for tests"
"""


def test_a_package_brings_a_method(installed: Callable[..., None]) -> None:
    installed("flatland", {"flat": "flatland:Flat"}, FLAT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = family()
        assert list(found) == [*found.built_in, "flat"]
    assert found.options("flat").keys() == METHODS.options("graddiff").keys() - {
        "saturation",
        "importance",
    }
    assert found.make("flat", {"lr": 0.1}).summary == "for tests"


@pytest.mark.parametrize(
    ("points", "text", "why"),
    [
        ({"flat": "flatland:Flat"}, "raise RuntimeError('no graphics')", "RuntimeError: no graph"),
        ({"flat": "flatland:Flat"}, "import nowhere.to.be.found", "ModuleNotFoundError"),
        ({"flat": "flatland:Round"}, FLAT, "AttributeError"),
        ({"flat": "flatland.missing:Flat"}, FLAT, "ModuleNotFoundError"),
        ({"flat": "flatland:flat"}, "flat = 3", "expected a class, got 3"),
        ({"flat": "flatland:Flat"}, "class Flat: name = 'flat'", "it lacks guarantee, needs"),
        ({"level": "flatland:Flat"}, FLAT, "its class calls itself 'flat'"),
        ({"npo": "flatland:Flat"}, FLAT, "'npo' is a name of Olvido's own"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 else "",
)
def test_what_a_package_brings_wrongly_is_named_and_left_out(
    installed: Callable[..., None], points: Mapping[str, str], text: str, why: str
) -> None:
    installed("flatland", points, text)
    found = family()
    with pytest.warns(UserWarning, match=why) as told:
        assert list(found) == list(found.built_in)
    assert "flatland 1.0" in str(told[0].message)
    assert found["npo"] is NPO
    # It is told once.
    assert list(found) == list(found.built_in)
    assert len(told) == 1


def test_a_name_that_two_packages_use_is_nobodys(installed: Callable[..., None]) -> None:
    installed("flatland", {"flat": "flatland:Flat"}, FLAT)
    installed("roundland", {"flat": "roundland:Flat"}, FLAT)
    with pytest.warns(UserWarning, match=r"flatland 1\.0 and roundland 1\.0 both use this name"):
        assert "flat" not in family()


def test_a_task_is_made_of_a_tokenizer_where_that_suffices(tokenizer: Any) -> None:
    for given in (None, "language", Language):
        assert type(task_of(tokenizer, given)) is Language
    own = Labels(["a", "b"])
    assert task_of(None, own) is own
    with pytest.raises(InputError, match="tokenizer or a task"):
        task_of(None, None)
    with pytest.raises(InputError, match="language needs the model's tokenizer"):
        task_of(None, "language")
    with pytest.raises(InputError, match=r"Labels\(\['cat', 'dog'\]\)"):
        task_of(tokenizer, "labels")
    with pytest.raises(UnknownName, match="did you mean 'language'"):
        task_of(tokenizer, "langage")
    with pytest.raises(InputError, match=r"an object \(task\), got 3"):
        task_of(tokenizer, 3)  # type: ignore[arg-type]
