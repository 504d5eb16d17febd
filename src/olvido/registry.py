"""Families of exchangeable parts: methods, audits, learners, tasks and retain regularisers.

A family is a table of classes by name. Its built-in classes are those that the family's public
package imports; installed packages add theirs by entry points; a program may add one by hand
(`METHODS["mine"] = Mine`). Every entry point takes a name of the table, a class or an object.
"""

from __future__ import annotations

import inspect
import reprlib
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType, UnionType
from typing import Any, Generic, TypeVar, Union, dataclass_transform, get_args, get_origin

from olvido.errors import InputError, UnknownName

T = TypeVar("T")

_WRITTEN = (str, bool, int, float, type(None))
"""Kinds of options that can be written down in a command, a form or a file."""

_TABLES: list[Registry[Any]] = []


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(field,))
class Options:
    """Base of a part whose constructor takes its annotated fields as keyword-only options.

    A subclass has the fields of its bases and its own, so that editors and type checkers know all
    of them; a name annotated as `ClassVar`, or not annotated, is no option. Every option has a
    default. `__post_init__` checks them; it calls that of its base.

    >>> class Shift(Options):
    ...     by: int = 1
    >>> Shift(by=2), Shift()
    (Shift(by=2), Shift())
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        dataclass(kw_only=True, eq=False, repr=False)(cls)

    def __post_init__(self) -> None:
        """Check the options; a subclass that overrides this calls its base's."""

    def __repr__(self) -> str:
        """Show the class, and the options that differ from their defaults."""
        options = ", ".join(f"{name}={value!r}" for name, value in _changed(self))
        return f"{type(self).__name__}({options})"


class Registry(MutableMapping[str, type[T]], Generic[T]):
    """The classes of a family by name, the built-in ones first.

    An entry point of `group` whose class cannot be loaded, lacks a piece, or has a name that is
    taken
    is left out with a warning that names it: one bad package must not stop the others.

    Args:
        kind: what messages call a member of the family.
        pieces: attributes that a class must have; no other family has the first one.
        home: the package whose public classes are built in, in the order of its imports.
        group: the entry points' group; None: installed packages add nothing.
        made: whether options alone make an object; tasks need a tokenizer too.
    """

    def __init__(
        self,
        kind: str,
        pieces: Sequence[str],
        *,
        home: str,
        group: str | None = None,
        made: bool = True,
    ) -> None:
        self.kind, self.pieces, self.home, self.group = kind, tuple(pieces), home, group
        self.made = made
        _TABLES.append(self)

    @cached_property
    def _classes(self) -> dict[str, type[T]]:
        return self._installed(dict(self._built_in))

    @cached_property
    def _built_in(self) -> dict[str, type[T]]:
        found: dict[str, type[T]] = {}
        for part in vars(import_module(self.home)).values():
            if not isinstance(part, type) or not hasattr(part, self.pieces[0]):
                continue
            if isinstance(name := getattr(part, "name", None), str):
                self._require_whole(part)
                if found.setdefault(name, part) is not part:
                    raise InputError(
                        f"{found[name].__name__} and {part.__name__} are both called {name!r}: "
                        f"give each {self.kind} a name of its own"
                    )
        return found

    @property
    def built_in(self) -> tuple[str, ...]:
        """Names of the family's own classes, in order."""
        return tuple(self._built_in)

    def _installed(self, known: dict[str, type[T]]) -> dict[str, type[T]]:
        """Add the classes of installed packages, in the order of the packages' names."""
        points = entry_points(group=self.group) if self.group else ()
        named: dict[str, list[EntryPoint]] = {}
        for point in sorted(points, key=_package):
            named.setdefault(point.name, []).append(point)
        for name, several in named.items():
            try:
                if name in known:
                    raise InputError(f"{name!r} is a name of Olvido's own: rename it")
                if len(several) > 1:
                    packages = " and ".join(map(_package, several))
                    raise InputError(f"{packages} both use this name: rename or remove one of them")
                known[name] = self._loaded(several[0])
            except Exception as error:  # noqa: BLE001 - another package's module may raise anything
                warnings.warn(
                    f"the {self.kind} {name!r} of {_package(several[0])} ({several[0].value}) is "
                    f"left out: {type(error).__name__}: {error}",
                    stacklevel=2,
                )
        return known

    def _loaded(self, point: EntryPoint) -> type[T]:
        part = point.load()
        if not isinstance(part, type):
            raise InputError(f"expected a class, got {part!r}: name one as 'package.module:Class'")
        self._require_whole(part)
        if (name := getattr(part, "name", None)) != point.name:
            raise InputError(
                f"its class calls itself {name!r}: give class and entry point the same name"
            )
        return part

    def _require_whole(self, part: type[Any]) -> None:
        """Raise InputError where a class lacks a piece, or an option has no default."""
        missing = [piece for piece in self.pieces if not hasattr(part, piece)]
        if missing:
            raise InputError(
                f"{part.__name__} is no {self.kind}, it lacks {', '.join(missing)}: define those "
                f"({self.home} says what they are)"
            )
        bare = [
            p.name
            for p in inspect.signature(part).parameters.values()
            if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.default is p.empty
        ]
        if self.made and bare:
            raise InputError(
                f"every option of a {self.kind} needs a default, and {bare[0]!r} of "
                f"{part.__name__} has none: give it one"
            )

    def __getitem__(self, name: str) -> type[T]:
        return self._classes[name]

    def __setitem__(self, name: str, part: type[T]) -> None:
        self._require_whole(part)
        self._classes[name] = part

    def __delitem__(self, name: str) -> None:
        del self._classes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)

    def find(self, given: str | type[T] | T) -> type[T]:
        """The class for a name, a class or an object.

        Raises:
            UnknownName: no class has that name; the nearest is named.
            InputError: it does not belong to this family.
        """
        if isinstance(given, str):
            if given not in self:
                raise UnknownName(self.kind, given, self)
            return self[given]
        part: Any = given if isinstance(given, type) else type(given)
        if not any(hasattr(part, piece) for piece in self.pieces):
            raise InputError(
                f"expected a name, a class or an object ({self.kind}), got {reprlib.repr(given)}: "
                f"give one of {', '.join(self)}, or what {self.home} says a class must have"
            )
        self._require_whole(part)
        return part

    def make(self, given: str | type[T] | T, options: Mapping[str, Any] | None = None) -> T:
        """The object for a name, a class or an object, made with these options.

        Raises:
            UnknownName: no such name, or no such option; the nearest is named.
            InputError: it does not belong to this family, its constructor refuses the options, or
                options come with an object, which has its own.
        """
        part = self.find(given)
        if not isinstance(given, str | type):
            if options:
                raise InputError(
                    f"the options {', '.join(sorted(options))} come too late for an object: give "
                    f"them to its constructor, {part.__name__}(...)"
                )
            return given
        name = given if isinstance(given, str) else self.name_of(given)
        for option in options or {}:
            if option not in (known := options_of(part)):
                raise UnknownName(f"option of {name}", option, known)
        return part(**(options or {}))

    def name_of(self, given: str | type[T] | T) -> str:
        """The name by which a name, a class or an object is recorded."""
        return given if isinstance(given, str) else name_of(given)

    def options(self, given: str | type[T] | T) -> dict[str, Any]:
        """The options that can be written as text, each with its kinds: text, numbers, none."""
        found = {}
        for name, kind in options_of(self.find(given)).items():
            kinds = [one for one in _kinds(kind) if one in _WRITTEN]
            if set(kinds) - {type(None)}:
                found[name] = Union[tuple(kinds)] if len(kinds) > 1 else kinds[0]  # noqa: UP007
        return found


def options_of(part: type[Any]) -> dict[str, Any]:
    """The options of a class by name, each with its type, those of its bases among them.

    They are the keyword-only parameters of its constructor and, where it takes `**options`, those
    of
    its base's constructor.

    >>> class Shift(Options):
    ...     by: int = 1
    >>> options_of(Shift)
    {'by': <class 'int'>}
    """
    found: dict[str, Any] = {}
    for cls in part.__mro__:
        init = cls.__dict__.get("__init__")
        if init is None or cls.__module__ == "typing":
            continue
        parameters = inspect.signature(init).parameters.values()
        own = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in found]
        found |= {name: _type_of(cls, init, name) for name in own}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found


def settings(part: Any) -> dict[str, Any]:
    """The options of an object that differ from their defaults, as they are recorded.

    Parts among them (a regulariser of a method) are recorded by name, or by name and options.

    Raises:
        InputError: the object stores an option under no attribute of its name.
    """
    return {name: recorded(value) for name, value in _changed(part)}


def plain(options: Mapping[str, Any], whose: str) -> dict[str, Any]:
    """Options as JSON holds them.

    Raises:
        InputError: one of them is something else.

    >>> plain({"lr": 0.1, "layers": (1, 2)}, "mine")
    {'lr': 0.1, 'layers': [1, 2]}
    """

    def written(name: str, value: Any) -> Any:
        if isinstance(value, _WRITTEN):
            return value
        if isinstance(value, list | tuple):
            return [written(name, one) for one in value]
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return {key: written(name, one) for key, one in value.items()}
        raise InputError(
            f"the option {name!r} of {whose} is a {type(value).__name__}, which no document can "
            "hold, so that the run could not be recorded: make it a number, a text, or a list or "
            "dictionary of those"
        )

    return {name: written(name, value) for name, value in options.items()}


def name_of(part: Any) -> str:
    """The name under which a class or an object is recorded: the table's, or `module:Class`."""
    kind = part if isinstance(part, type) else type(part)
    name = getattr(kind, "name", None)
    if isinstance(name, str) and any(table.get(name) is kind for table in _TABLES):
        return name
    return f"{kind.__module__}:{kind.__qualname__}"


def public(namespace: Mapping[str, Any]) -> list[str]:
    """Names of a package's namespace that are public: all but modules and what begins with `_`."""
    return sorted(
        name
        for name, value in namespace.items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    )


def _changed(part: Any) -> Iterator[tuple[str, Any]]:
    """The options of an object that differ from their defaults."""
    for name in options_of(type(part)):
        if not hasattr(part, name):
            raise InputError(
                f"the option {name!r} of {type(part).__name__} cannot be recorded, since the "
                f"object has no attribute of that name: set self.{name} in its constructor"
            )
        value, default = getattr(part, name), _default(type(part), name)
        if value is not default and not (type(value) is type(default) and value == default):
            yield name, value


def recorded(value: Any) -> Any:
    """An option as it is recorded: a part by its name, or by its name and options."""
    if isinstance(value, list | tuple):
        return [recorded(one) for one in value]
    if not isinstance(getattr(value, "name", None), str):
        return value
    options = {} if isinstance(value, type) else settings(value)
    return {"name": name_of(value), "options": options} if options else name_of(value)


def _type_of(cls: type[Any], init: Any, name: str) -> Any:
    """The type of a parameter: that of the field, in the words of the class that declares it."""
    places = [(base, vars(sys.modules[base.__module__])) for base in cls.__mro__]
    for declares, known in [*places, (init, init.__globals__)]:
        written = inspect.get_annotations(declares).get(name)
        if isinstance(written, str):
            try:
                return eval(written, dict(known))
            except NameError:  # imported for type checkers alone
                return Any
        if written is not None:
            return written
    return Any


def _default(part: type[Any], name: str) -> Any:
    for cls in part.__mro__:
        init = cls.__dict__.get("__init__")
        if init is not None and name in (known := inspect.signature(init).parameters):
            return known[name].default
    return inspect.Parameter.empty


def _kinds(kind: Any) -> Iterable[Any]:
    return get_args(kind) if isinstance(kind, UnionType) or get_origin(kind) is Union else (kind,)


def _package(point: EntryPoint) -> str:
    found = point.dist
    return "an unnamed package" if found is None else f"{found.name} {found.version}"
