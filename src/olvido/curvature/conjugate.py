"""Inverse products without a matrix, for models small enough to be run many times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.attention import SDPBackend, sdpa_kernel

from olvido.curvature.gradients import evaluating
from olvido.errors import InputError, NotFinite
from olvido.tasks import Example, Task

Product = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""A symmetric matrix as a function of a vector that is split by parameter."""


def gauss_newton(
    model: Module, records: Sequence[Example], task: Task, *, batch_size: int = 64
) -> Product:
    """The Gauss-Newton matrix of the mean loss over records (Schraudolph 2002), as a product.

    It is the Hessian where the logits are linear in the weights, and never negative elsewhere.

    Raises:
        InputError: there are no records, or no parameter requires a gradient.
    """
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if not records or not parameters:
        raise InputError("a curvature needs one record and one trainable parameter at least")
    device = next(iter(parameters.values())).device

    def product(vector: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = {name: torch.zeros_like(p) for name, p in parameters.items()}
        # The fused kernels of attention have no second derivative.
        with evaluating(model), sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
            for batch in task.batches(records, batch_size):
                logits, _, rows = task.answer_logits(model, batch.to(device))
                counts = torch.bincount(rows, minlength=len(batch.ids))[rows].to(logits)
                shares = logits.detach().softmax(-1)
                # J v by two products with the transpose: J'w is linear in w.
                probe = torch.zeros_like(logits, requires_grad=True)
                pulled = torch.autograd.grad(
                    logits,
                    list(parameters.values()),
                    probe,
                    create_graph=True,
                    materialize_grads=True,
                )
                along = sum(
                    (one * vector[name]).sum() for name, one in zip(parameters, pulled, strict=True)
                )
                assert isinstance(along, Tensor)
                (pushed,) = torch.autograd.grad(along, probe, retain_graph=True)
                mean = (shares * pushed).sum(-1, keepdim=True)
                bent = shares * (pushed - mean) / (counts.unsqueeze(-1) * len(records))
                back = torch.autograd.grad(
                    logits, list(parameters.values()), bent, materialize_grads=True
                )
                for name, part in zip(parameters, back, strict=True):
                    found[name] += part
        return found

    return product


def conjugate_gradients(
    product: Product,
    target: Mapping[str, Tensor],
    *,
    ridge: float,
    tolerance: float = 1e-5,
    iterations: int = 200,
) -> dict[str, Tensor]:
    """Solve (A + ridge I) x = target (Hestenes and Stiefel 1952).

    Args:
        product: multiplies by A, positive semidefinite.
        target: vector by parameter.
        ridge: makes the matrix definite.
        tolerance: length of the final residual, as a share of the target's.
        iterations: at most.

    Raises:
        NotFinite: it did not converge within its iterations.
    """
    found = {name: torch.zeros_like(part) for name, part in target.items()}
    left = {name: part.clone() for name, part in target.items()}
    along = dict(left)
    length = start = _inner(left, left)
    for _ in range(iterations):
        if length <= tolerance**2 * start:
            return found
        bent = product(along)
        bent = {name: bent[name] + ridge * part for name, part in along.items()}
        step = length / _inner(along, bent)
        found = {name: part + step * along[name] for name, part in found.items()}
        left = {name: part - step * bent[name] for name, part in left.items()}
        before, length = length, _inner(left, left)
        along = {name: part + length / before * along[name] for name, part in left.items()}
    if length <= tolerance**2 * start:
        return found
    raise NotFinite(
        f"conjugate gradients stood at {(length / start) ** 0.5:.1e} of the start after "
        f"{iterations} steps, {tolerance:.1e} was asked for: raise the ridge or the iterations"
    )


def _inner(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    return float(sum((part * other[name]).sum().double() for name, part in one.items()))
