"""One model's weights in shards over several processes: FSDP2, as accelerate's file configures it.

Weights, gradients and optimizer state of a training are sharded parameter by parameter (Zhao et al.
2023, arXiv 2304.11277, for the idea; `torch.distributed.fsdp.fully_shard` for this form, in which
frozen weights and adapters may share a unit).
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import Module, Parameter

from olvido.errors import InputError
from olvido.models.digest import whole
from olvido.processes import world_size
from olvido.tasks.blocks import plain_model
from olvido.training.gradients import summed_loss

_FILE = "in accelerate's configuration file (see 'accelerate config')"


def sharding() -> str | None:
    """How accelerate's configuration shards weights, in a line; None for not at all.

    Raises:
        InputError: it shards in a way that is not supported, or asks for what a recipe decides.
    """
    if world_size() == 1:
        return None
    if _on("ACCELERATE_USE_DEEPSPEED"):
        raise InputError(f"DeepSpeed is not supported: name FSDP, fsdp_version 2, {_FILE}")
    if not _on("ACCELERATE_USE_FSDP"):
        return None
    if (version := os.environ.get("FSDP_VERSION", "1")) != "2":
        raise InputError(
            f"FSDP of version {version} cannot train some weights and freeze others: write "
            f"fsdp_version: 2 {_FILE}"
        )
    if _on("FSDP_CPU_RAM_EFFICIENT_LOADING"):
        raise InputError(
            "fsdp_cpu_ram_efficient_loading leaves all processes but one without the model, and "
            f"each reads it whole: write false {_FILE}"
        )
    if (precision := os.environ.get("ACCELERATE_MIXED_PRECISION", "no")) != "no":
        raise InputError(
            f"mixed_precision {precision} would change a training that its recipe does not "
            f"describe: write 'no' {_FILE}, and give the recipe its dtype"
        )
    chosen = ("AUTO_WRAP_POLICY", "TRANSFORMER_CLS_TO_WRAP", "MIN_NUM_PARAMS",
              "RESHARD_AFTER_FORWARD", "OFFLOAD_PARAMS")  # fmt: skip
    found = [f"{name.lower()}={os.environ.get(f'FSDP_{name}', 'none')}" for name in chosen]
    return " ".join(("fsdp2", *found))


def recomputes() -> bool:
    """Whether accelerate's configuration has activations recomputed."""
    return _on("FSDP_ACTIVATION_CHECKPOINTING")


def _on(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true", "yes")


class _Root(Module):
    """The unit whose forward pass is any computation with the model.

    FSDP gathers weights when the forward pass of its outermost module begins, and a task may run
    the body and the head of a model one after the other.
    """

    def __init__(self, model: Module) -> None:
        super().__init__()
        self.model = model
        self._no_split_modules = getattr(plain_model(model), "_no_split_modules", None)

    def forward(self, compute: Callable[[], Tensor]) -> Tensor:
        """Compute a loss."""
        return compute()


class Sharded:
    """Every process has a part of a step's losses, and a shard of the weights.

    Gradients are summed over processes as each loss is differentiated, so all of them compute
    equally many.

    Args:
        model: gives its weights away: until `release` its trained parameters are empty.
        accelerator: of the processes.

    Attributes:
        model: the sharded copy, which computes only inside `loss`.
    """

    together, clipped = True, False

    def __init__(self, model: Module, accelerator: Accelerator) -> None:
        from accelerate import FullyShardedDataParallelPlugin
        from accelerate.utils import fsdp2_prepare_model
        from torch.distributed.fsdp import FSDPModule

        self.rank, self.world = accelerator.process_index, accelerator.num_processes
        self._device, self._given = accelerator.device, model
        memo: dict[int, Any] = {
            id(p): Parameter(p.detach(), requires_grad=p.requires_grad) for p in model.parameters()
        }
        self.model: Module = copy.deepcopy(model, memo)
        accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
        try:
            self._root = fsdp2_prepare_model(accelerator, _Root(self.model))
        except ValueError as error:
            raise InputError(
                f"the model cannot be sharded ({error}): change fsdp_auto_wrap_policy {_FILE}"
            ) from error
        for module in self._root.modules():
            if isinstance(module, FSDPModule):
                # Sums, since each loss is divided by the records of the whole step already.
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)
        for parameter in _trained(model):
            parameter.data = parameter.data.new_empty(0)

    def loss(self, compute: Callable[[], Tensor]) -> Tensor:
        """Compute a loss with weights that are gathered unit by unit."""
        found: Tensor = self._root(compute)
        return found

    def add(self, loss: Tensor) -> None:
        """Sum its gradient over the processes, and keep the own shard."""
        loss.backward()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Leave the gradient as it is: shards of a sum."""
        yield

    def finish(self, loss: float | None) -> float | None:
        """Sum the losses; gradients are summed already."""
        return summed_loss(loss, self._device)

    def release(self) -> None:
        """Give the model its trained weights back, gathered one by one."""
        with torch.no_grad():
            for given, sharded in zip(_trained(self._given), _trained(self.model), strict=True):
                given.data = whole(sharded.detach()).clone()
            own = dict(self.model.named_buffers())
            for name, buffer in self._given.named_buffers():
                buffer.copy_(own[name])


def _trained(model: Module) -> list[Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def as_sharded(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, sharded as another is; itself where that is whole."""
    if not hasattr(like, "full_tensor"):
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(
        tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None
    )


def norm(tensors: Iterable[Tensor]) -> Tensor:
    """The norm of tensors as one vector, over all processes where they are sharded. []"""
    return whole(torch.nn.utils.get_total_norm(list(tensors)))


def dot(ours: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """The inner product of two lists of tensors, over all processes where they are sharded."""
    pairs = zip(ours, others, strict=True)
    return sum(float(whole((one * other).sum())) for one, other in pairs)
