"""What goes into each trained layer, and what comes back: all that the norms of units need."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import Embedding, Module, Parameter

from olvido.training.private.norms import (
    CannotSeparate,
    Contribution,
    Layout,
    Rule,
    merged,
    rule_of,
)


class _Call(NamedTuple):
    """One use of a layer; `version` changes if its input is overwritten afterwards."""

    module: Module
    rule: Rule
    given: Tensor
    version: int
    back: GradientEdge


class Recording:
    """Hooks on every layer that has trained weights of its own.

    Args:
        model: with adapters, if there are any.

    Attributes:
        unknown: layers without a rule, in words; empty where there are none.
    """

    def __init__(self, model: Module) -> None:
        self._calls: list[_Call | None] = []
        self._on, self._first = False, 0
        self._hooks: list[Any] = []
        unknown: dict[str, None] = {}
        for module in model.modules():
            if not any(p.requires_grad for p in module.parameters(recurse=False)):
                continue
            if (rule := rule_of(module)) is None:
                unknown[type(module).__name__] = None
                continue
            if isinstance(module, Embedding):
                self._hooks.append(module.register_forward_pre_hook(self._widen))
            self._hooks.append(module.register_forward_hook(self._record(rule), with_kwargs=True))
        self.unknown = ", ".join(unknown)
        if unknown:
            self.close()

    @property
    def whole(self) -> bool:
        """Whether there is a rule for every layer."""
        return not self.unknown

    def close(self) -> None:
        """Take the hooks away."""
        for hook in self._hooks:
            hook.remove()

    @contextmanager
    def on(self) -> Iterator[None]:
        """Record the layers that are run inside."""
        self._calls, self._on, self._first = [], True, 0
        try:
            yield
        finally:
            self._on = False

    def contributions(
        self, loss: Tensor, layout: Layout
    ) -> dict[int, tuple[Parameter, Contribution]]:
        """What a loss adds to each parameter, by its id; one backward pass.

        Raises:
            CannotSeparate: a layer does not keep units apart.
        """
        calls = [call for call in self._calls if call is not None]
        whole = len(calls) == len(self._calls)
        self._calls = []
        if not whole or any(call.given._version != call.version for call in calls):
            raise CannotSeparate
        back: tuple[Tensor | None, ...] = torch.autograd.grad(
            loss, [call.back for call in calls], allow_unused=True
        )
        found: dict[int, list[Contribution]] = defaultdict(list)
        parameters: dict[int, Parameter] = {}
        with torch.no_grad():
            for call, gradient in zip(calls, back, strict=True):
                if gradient is None:
                    continue
                for parameter, part in call.rule(call.module, call.given, gradient, layout):
                    found[id(parameter)].append(part)
                    parameters[id(parameter)] = parameter
            return {key: (parameters[key], merged(parts)) for key, parts in found.items()}

    def _record(self, rule: Rule) -> Any:
        def record(module: Module, args: Any, kwargs: Any, output: Any) -> None:
            if not self._on or not torch.is_grad_enabled():
                return
            given = (*args, *kwargs.values())
            plain = len(given) == 1 and isinstance(given[0], Tensor) and isinstance(output, Tensor)
            if not plain or output.grad_fn is None:
                self._calls.append(None)
                return
            # The edge stays that of this output, if it is overwritten later.
            edge = get_gradient_edge(output)
            self._calls.append(_Call(module, rule, given[0].detach(), given[0]._version, edge))

        return record

    def _widen(self, module: Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Look positions up once for every row, where a model does so once for all."""
        if not self._on or not torch.is_grad_enabled() or len(args) != 1 or args[0].dim() != 2:
            return None
        (ids,) = args
        self._first = self._first or len(ids)
        return (ids.expand(self._first, -1),) if len(ids) == 1 else None
