"""Stored models: loaded when they are asked for, one at a time, and checked by their digest.

An audit compares many models and computes with one. What it needs of two at once are their weights,
and those are read from their files a tensor at a time.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import Module

from olvido.errors import DigestMismatch, InputError, StateError
from olvido.models.base import Loaded, load
from olvido.models.digest import weights_digest

Source = str | Path | Callable[[], "Module | Loaded"]
"""A stored model: a name that `load` takes, or a callable that loads it anew at each call."""


class ModelSlot:
    """Room in memory for one loaded model: loading another drops it."""

    def __init__(self) -> None:
        self._holder: StoredModel | None = None
        self._module: Module | None = None

    def module_of(self, stored: StoredModel) -> Module:
        """The module of this model, loaded where another one lies in the slot."""
        if self._holder is not stored or self._module is None:
            self.clear()
            module = stored.load()
            self._holder, self._module = stored, module
        return self._module

    def clear(self) -> None:
        """Drop the model in the slot."""
        dropped = None if self._module is None else weakref.ref(self._module)
        self._holder = self._module = None
        if dropped is not None and dropped() is not None:
            # A model in a cycle of references, such as one with adapters, waits for the collector.
            gc.collect()


@dataclass(frozen=True)
class StoredTensor:
    """A weight in its file.

    Attributes:
        file: a safetensors file.
        key: its name there.
        dtype: its type in the loaded model.
        shape: its shape.
    """

    file: Path
    key: str
    dtype: torch.dtype
    shape: torch.Size

    def read(self) -> Tensor:
        """The weight as the loaded model has it; the file is closed when it is dropped."""
        with safe_open(self.file, "pt") as opened:
            tensor: Tensor = opened.get_tensor(self.key)
        return tensor.to(self.dtype)


Weight = Tensor | StoredTensor
"""A weight in memory or in its file."""


class StoredModel:
    """A model that is loaded when it is asked for, and dropped when another of its slot is.

    Args:
        source: a folder, a hub id or a short name, as `load` takes it, or a callable that loads.
        slot: shared by the models of which at most one is to be in memory; None: one of its own.
        name: what errors call it; None: the name that it is loaded by.

    Raises:
        InputError, UnknownName: at its first use: it cannot be loaded.
    """

    def __init__(
        self, source: Source, slot: ModelSlot | None = None, *, name: str | None = None
    ) -> None:
        self._source = source if callable(source) else partial(load, source)
        self._slot = ModelSlot() if slot is None else slot
        self.name = name or ("a model" if callable(source) else str(source))
        self._digest: str | None = None
        self._tokenizer: Any | None = None
        self._files: dict[Path, tuple[int, ...]] = {}
        self._weights: dict[str, StoredTensor] | None = None

    @property
    def module(self) -> Module:
        """The module. Keep no reference to it: it is to be gone when another model is loaded.

        Raises:
            StateError: its folder is gone since it was first loaded.
            DigestMismatch: its weights are not those that were first loaded.
        """
        return self._slot.module_of(self)

    @property
    def digest(self) -> str:
        """The digest of its weights when they were first loaded."""
        if self._digest is None:
            self._slot.module_of(self)
        assert self._digest is not None
        return self._digest

    @property
    def tokenizer(self) -> Any | None:
        """The tokenizer that it was loaded with; None where its source gives a module alone."""
        if self._digest is None:
            self._slot.module_of(self)
        return self._tokenizer

    def take(self) -> Module:
        """The module, for the caller alone, who may change it: it leaves the slot."""
        module = self._slot.module_of(self)
        self._slot.clear()
        return module

    def weights(self) -> Mapping[str, StoredTensor] | None:
        """Where its weights lie, by their names in the module's state dictionary.

        None where the files do not hold them as they are loaded (adapters, converted
        architectures), or it is unknown which files these are.
        """
        if self._digest is None or self._files != _stamps(self._files):
            # Loading compares the digest.
            self._slot.clear()
            self._slot.module_of(self)
        return self._weights

    def load(self) -> Module:
        """Load it anew, beside the slot, and compare its digest. Errors are those of `module`."""
        known = self._digest
        if known is not None and any(not file.exists() for file in self._files):
            gone = next(file for file in self._files if not file.exists())
            raise StateError(
                f"the files of {self.name} are gone ({gone}): put them back, and begin again"
            )
        loaded = self._source()
        if isinstance(loaded, Loaded):
            self._tokenizer = loaded.tokenizer
            module, where = loaded.model, Path(loaded.name)
        else:
            module, where = loaded, None
        if not isinstance(module, Module):
            raise InputError(
                f"expected a callable that gives a module or what olvido.load gives, and "
                f"{self.name} gave a {type(module).__name__}"
            )
        digest = weights_digest(module)
        if known is not None and digest != known:
            raise DigestMismatch(f"{self.name}, which was loaded before,", known, digest)
        if where is not None and where.is_dir():
            stamps = _stamps(where.glob("*.safetensors"))
            if stamps != self._files:
                self._weights, self._files = _stored(stamps, module), stamps
        self._digest = digest
        return module


def _stamps(files: Any) -> dict[Path, tuple[int, ...]]:
    """What changes with a file: inode, size, and times of its content and its entry."""
    found: dict[Path, tuple[int, ...]] = {}
    for file in sorted(files):
        try:
            about = file.stat()
        except OSError:
            continue
        found[file] = (about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
    return found


def _stored(files: Mapping[Path, object], module: Module) -> dict[str, StoredTensor] | None:
    """Where each weight of a module lies; None where one is not in the files as it is loaded."""
    places: dict[str, Path] = {}
    for path in files:
        with safe_open(path, "pt") as file:
            places |= dict.fromkeys(file.keys(), path)
    state = module.state_dict()
    found: dict[str, StoredTensor] = {}
    by_place: dict[tuple[int, torch.Size], StoredTensor] = {}
    for name, tensor in state.items():
        if name in places:
            stored = StoredTensor(places[name], name, tensor.dtype, tensor.shape)
            if not stored.read().equal(tensor.cpu()):
                return None
            found[name] = by_place[tensor.data_ptr(), tensor.shape] = stored
    for name, tensor in state.items():
        # Tied weights are stored once, under one of their names.
        tied = found.get(name) or by_place.get((tensor.data_ptr(), tensor.shape))
        if tied is None:
            return None
        found[name] = tied
    return {name: found[name] for name in state}
