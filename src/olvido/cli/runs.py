"""The options of a run on the command line: a flag for each field of `RunOptions`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from annotated_types import Ge
from pydantic.fields import FieldInfo

from olvido.schemas.options import RunOptions

_UNGIVEN = ("type", "version")


def answered_by(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command a flag for each of these fields, or for all; it gets them as `how`."""

    def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(function, eval_str=True)
        wanted = names or [name for name in RunOptions.model_fields if name not in _UNGIVEN]
        flags = [_flag(name, RunOptions.model_fields[name]) for name in wanted]

        @functools.wraps(function)
        def run(*arguments: Any, **given: Any) -> Any:
            said = {flag.name: given.pop(flag.name) for flag in flags}
            return function(*arguments, how=_read(**said), **given)

        others = [p for p in signature.parameters.values() if p.name != "how"]
        # Parameters without a default come first, as Python requires.
        both = sorted([*others, *flags], key=lambda p: p.default is not inspect.Parameter.empty)
        run.__signature__ = signature.replace(parameters=both)  # type: ignore[attr-defined]
        return run

    return decorated


def _flag(name: str, field: FieldInfo) -> inspect.Parameter:
    kind, unit = field.annotation, (field.json_schema_extra or {})
    assert isinstance(unit, dict)
    least = next((one.ge for one in field.metadata if isinstance(one, Ge)), None)
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        help=field.description,
        metavar=str(unit["unit"]).upper() if "unit" in unit else None,
        # A bound that only computers have is not worth showing.
        min=least if least in (0, 1) else None,
    )
    default = field.default
    if name == "options":
        name, kind, default = "option", list[str] | None, None
        option = typer.Option("--option", metavar="NAME=VALUE", help=field.description)
    elif any(get_origin(one) is Literal for one in get_args(kind)):
        # The options themselves refuse an unknown name, and name the nearest.
        kind = str | None
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[kind, option],
        default=default,
    )


def _read(option: list[str] | None = None, **given: Any) -> RunOptions:
    from olvido.cli.arguments import method_options
    from olvido.errors import InputError

    if option and given["method"] is None:
        raise InputError("--option needs --method: options belong to a method")
    read = method_options(given["method"], option) if option else {}
    return RunOptions(**given, options=read)
