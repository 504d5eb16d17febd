"""Rewinding: what only the forget set reads of each matrix goes back to the base."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from statistics import fmean
from typing import Any, ClassVar

import torch
from torch import Tensor

from olvido.curvature.ekfac import MEMORY, together
from olvido.errors import InputError
from olvido.learners import Trained
from olvido.methods.curved import UP, USUAL, StrengthSearch, WeightPath, put
from olvido.methods.gradient.answers import FORWARD, shared_weights_copy
from olvido.methods.gradient.calibration import targets
from olvido.methods.gradient.descent import Start
from olvido.methods.origin.moments import Reader, moments, readers
from olvido.methods.origin.repair import Repaired
from olvido.methods.origin.weights import module_of
from olvido.methods.types import Split
from olvido.tasks import Example, Task
from olvido.tasks.sampling import uniform

SAMPLE = 256
"""Retained records, at the most, whose inputs are kept apart from those of the forget set."""
RIDGE = 1e-3
"""Added to the second moments of retained inputs, as a share of their mean along the diagonal."""
FIRST = 1.0
"""The first `mu` of a search, which ends at 1,024 times it: what more would reach is left to the
repair."""
NONE = 1e-12
"""Share of the largest ratio below which the forget set has nothing along a direction."""


class Rewind(Repaired):
    """Take each matrix back to the base along what only the forget set reads, then repair.

    With D the change that the training made to a matrix, M the second moments of its inputs on
    retained records (ridged), and C those on the forget set, D becomes D M (M + mu C)^-1. That is
    the D' which minimises E |(D' - D) x|^2 over retained inputs plus mu E |D' x|^2 over forgotten
    ones: at mu = 0 the original, and for a large one the base where the forget set alone has
    inputs. So RegMean (Jin et al. 2023, arXiv 2212.09849) would merge the original on retained
    inputs with the base on forgotten ones. The inputs are the original model's; rows of embeddings
    are inputs too, and a head that is one of them goes with its rows. Biases and norms, which
    every record reads, stay. The steps that follow are those of `distillation`.

    Args:
        mu: weight of the forget set's inputs; None: the least at which its losses are those of the
            sketch, 1,024 at the most.
        target: loss in nats a token up to which `mu` is searched; None: the sketch's.
    """

    name: ClassVar = "rewind"
    summary: ClassVar = "take back to the base what only the records read, then repair"
    loss: ClassVar = "that of `distillation`, after the closed form"
    source: ClassVar = "Jin et al. 2023, arXiv 2212.09849"
    suits: ClassVar = "a first push without training, of a model whose base is known"
    example: ClassVar[Mapping[str, Any]] = {"target": 2.0, "steps": 40}

    mu: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mu is not None and not 0 <= self.mu < float("inf"):
            raise InputError(f"mu is a number of 0 or more, got {self.mu}")

    def start(self, trained: Trained, split: Split, task: Task, seed: int) -> Start:
        """Rewind by `mu`, or by as much as the target asks for."""
        # What cannot be done is refused before anything is trained.
        readers(trained.model)
        begun = super().start(trained, split, task, seed)
        before = begun.split.teacher
        assert before is not None
        path, tries = self.path(trained, split, task), 0
        model = copy.deepcopy(trained.model)
        if (mu := self.mu) is None:
            goals = targets(before, begun.split, task, self.batch_size)
            goal = self.target or fmean(goals.values())
            search = StrengthSearch(model, path.at, split.forget, task, self.batch_size, None)
            mu = search.shortest(FIRST, goal)
            tries = search.evaluations
        put(model, path.at(mu))
        spent = begun.tokens + self._read_cost(trained, split, task)
        spent += FORWARD * tries * sum(map(task.width, split.forget))
        most = ", the most that is tried" if self.mu is None and mu == FIRST * 2**UP else ""
        says = f"what the records alone read was taken back to the base at mu {mu:.3g}{most}"
        return replace(begun, model=model, tokens=spent, says=says)

    def start_cost(self, trained: Trained, split: Split, task: Task) -> float:
        tokens = super().start_cost(trained, split, task) + self._read_cost(trained, split, task)
        tries = USUAL if self.mu is None else 0
        return tokens + FORWARD * tries * sum(map(task.width, split.forget))

    def path(self, trained: Trained, split: Split, task: Task) -> WeightPath:
        """The weights for each `mu`; at 0 they are the original ones, bit for bit."""
        assert split.origin is not None
        model = shared_weights_copy(trained.model, trained=True)
        layers = readers(model)
        names = [name for name, _ in model.named_parameters()]
        base = dict(zip(names, module_of(split.origin).parameters(), strict=True))
        model.requires_grad_(False)
        own, kept = dict(model.named_parameters()), self._kept(split)
        steps: dict[str, Callable[[float], Tensor]] = {}
        for some in _groups(layers):
            found = {name: layers[name] for name in some}
            retained = moments(model, kept, task, found, self.batch_size)
            forgotten = moments(model, split.forget, task, found, self.batch_size)
            for name in some:
                change = own[name].double() - base[name].to(own[name]).double()
                both = retained.pop(name), forgotten.pop(name)
                steps[name] = rewound(change, *both, layers[name])
        return WeightPath(lambda mu: {n: own[n] - step(mu).to(own[n]) for n, step in steps.items()})

    def _kept(self, split: Split) -> tuple[Example, ...]:
        return uniform(split.retain, SAMPLE, 0)

    def _read_cost(self, trained: Trained, split: Split, task: Task) -> float:
        """Tokens of the passes that look at inputs."""
        passes = sum(1 for _ in _groups(readers(trained.model)))
        return FORWARD * passes * sum(map(task.width, (*self._kept(split), *split.forget)))


def rewound(
    change: Tensor, kept: Tensor, gone: Tensor, reader: Reader
) -> Callable[[float], Tensor]:
    """What is taken off a parameter for each `mu`: D - D M (M + mu C)^-1.

    Args:
        change: what the training made of the parameter, D. float64
        kept: second moments of retained inputs, without the ridge. [I, I]; of rows [V]
        gone: those of forgotten inputs, C.
        reader: of the parameter.
    """
    shape = change.shape
    ridge = RIDGE * float(kept.trace() if kept.dim() > 1 else kept.sum()) / len(kept) or 1.0
    if reader.rows:
        ratio = (gone / (kept + ridge)).unsqueeze(1)
        return lambda mu: change * _back(mu, ratio)
    # With M = L L' and L^-1 C L^-T = U s U', the columns of L U and of L^-T U are where both are
    # diagonal.
    lower = torch.linalg.cholesky(kept + ridge * torch.eye(len(kept)).to(kept))
    whitened = torch.linalg.solve_triangular(lower, gone, upper=False)
    whitened = torch.linalg.solve_triangular(lower, whitened.T, upper=False)
    ratio, turn = torch.linalg.eigh((whitened + whitened.T) / 2)
    some = ratio > NONE * ratio[-1].clamp(min=0)
    ratio, turn = ratio[some], turn[:, some]
    matrix = change.T if reader.turned else change.flatten(1)
    left = matrix @ lower @ turn
    right = torch.linalg.solve_triangular(lower.T, turn, upper=True)

    def off(mu: float) -> Tensor:
        found = (left * _back(mu, ratio)) @ right.T
        return found.T if reader.turned else found.reshape(shape)

    return off


def _back(mu: float, ratio: Tensor) -> Tensor:
    """The share of the way back to the base: 0 at mu = 0, and 1 where mu or the ratio is large."""
    return 1 / (1 + 1 / (mu * ratio))


def _groups(layers: Mapping[str, Reader]) -> Iterator[list[str]]:
    """Names of matrices whose moments are in memory together."""
    return together({name: 16 * reader.size for name, reader in layers.items()}, MEMORY)
