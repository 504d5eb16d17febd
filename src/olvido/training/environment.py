"""The environment contract under which the same run gives the same bits."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from olvido.errors import EnvironmentMismatch
from olvido.training.sharding import sharding


def environment(
    device: str | torch.device = "cpu",
    *,
    threads: int | None = None,
    model: Any | None = None,
    world_size: int = 1,
) -> dict[str, str]:
    """Everything outside the recipe that the bits of a run depend on.

    Args:
        device: the run's device.
        threads: its threads; None: torch's current number.
        model: the model whose kind of attention is recorded, where it has one.
        world_size: processes that share the run.
    """
    where = torch.device(device)
    found = {
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "peft": version("peft"),
        "accelerate": version("accelerate"),
        "blas": _blas(),
        "threads": str(threads or torch.get_num_threads()),
        "device": where.type,
        "machine": platform.machine(),
        "cpu": _cpu(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "tf32": "False",
        "deterministic": "True",
        "cudnn_benchmark": "False",
        "precision": torch.get_float32_matmul_precision(),
        "dtype": str(torch.get_default_dtype()),
        "mkldnn": str(torch.backends.mkldnn.enabled),
        "denormals": _denormals(),
        "variables": _variables(),
        "attention": str(getattr(getattr(model, "config", None), "_attn_implementation", None)),
        "world_size": str(world_size),
    }
    if world_size > 1 and (shards := sharding()) is not None:
        found["sharding"] = shards
    if world_size > 1 and where.type == "cuda":
        # Which way NCCL sums decides the order of its sums.
        chosen = ("NCCL_ALGO", "NCCL_PROTO")
        found["collectives"] = " ".join(f"{n}={os.environ.get(n, 'its own')}" for n in chosen)
    if where.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(where)
        found["cuda"] = str(torch.version.cuda)
        found["cudnn"] = str(torch.backends.cudnn.version())
        found["driver"] = str(torch._C._cuda_getDriverVersion())  # type: ignore[attr-defined]
    return found


def require_same(recorded: Mapping[str, str], here: Mapping[str, str]) -> None:
    """Refuse to continue where the bits would differ.

    Raises:
        EnvironmentMismatch: lines differ; the message names each.

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
def deterministic(threads: int | None = None) -> Iterator[None]:
    """Use deterministic kernels inside, and restore the caller's settings and random state after.

    Args:
        threads: torch's threads inside; None: the current number.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    used = torch.get_num_threads()
    # cuBLAS reads it when its first handle is made; without it torch refuses to be deterministic.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32
        torch.set_num_threads(used)


_VARIABLES = re.compile(r"(MKL|DNNL|ONEDNN|OPENBLAS|ATEN|NVIDIA_TF32|TORCH_ALLOW_TF32)_\w+")
_THREADS = re.compile(r"\w+_NUM_THREADS")


def _variables() -> str:
    """Variables that determine how libraries compute; threads are a separate line."""
    found = {
        name: value
        for name, value in os.environ.items()
        if _VARIABLES.fullmatch(name) and not _THREADS.fullmatch(name)
    }
    return " ".join(f"{name}={found[name]}" for name in sorted(found)) or "none"


def _denormals() -> str:
    """Whether denormal numbers are preserved: torch can be set to flush them to zero."""
    return "kept" if bool(torch.tensor(1e-38) * 1e-3 > 0) else "flushed"


@cache
def _cpu() -> str:
    """The processor's model name: kernels are chosen by more than its capability."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or "unknown"


@cache
def _blas() -> str:
    lines = [line.strip(" -") for line in torch.__config__.show().splitlines()]
    libraries = ("Intel(R) oneAPI Math Kernel", "Intel(R) MKL-DNN", "OpenBLAS")
    return "; ".join(line for line in lines if line.startswith(libraries)) or "unknown"
