"""The contract under which the same run gives the same bits."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version

import torch

from olvido.errors import EnvironmentMismatch


def environment(device: str | torch.device = "cpu") -> dict[str, str]:
    """Everything outside the recipe that the bits of a run depend on."""
    where = torch.device(device)
    found = {
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "blas": "mkl" if torch.backends.mkl.is_available() else "other",
        "threads": str(torch.get_num_threads()),
        "device": where.type,
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "tf32": str(torch.backends.cuda.matmul.allow_tf32),
        "world_size": "1",
    }
    if where.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(where)
        found["cuda"] = str(torch.version.cuda)
    return found


def require_same(recorded: Mapping[str, str], here: Mapping[str, str]) -> None:
    """Refuse to go on where the bits would differ.

    Raises:
        EnvironmentMismatch: naming each line that differs.

    >>> require_same({"threads": "1"}, {"threads": "1"})
    """
    differing = [
        f"{name}: recorded {recorded.get(name, 'nothing')!r}, here {here.get(name, 'nothing')!r}"
        for name in sorted({*recorded, *here})
        if recorded.get(name) != here.get(name)
    ]
    if differing:
        raise EnvironmentMismatch(
            "this environment would not give the same bits ("
            + "; ".join(differing)
            + "): use the recorded one, or train again from the start"
        )


@contextmanager
def deterministic() -> Iterator[None]:
    """Deterministic kernels inside, and the caller's settings and random state restored after."""
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
