"""Networks that score classes, made by a factory: weights are safetensors, never pickles.

A factory is a function of an input's shape and the number of classes. Its name with both of them,
as `mlp[64,10]`, determines the module; with a seed, its first weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from olvido.errors import InputError
from olvido.files import read_document, write_document

DOCUMENT = "network.json"
WEIGHTS = "model.safetensors"
FORMAT = "olvido-network/1"
HIDDEN = 64
"""Units of the hidden layer of `mlp`."""
CHANNELS = 8, 16
"""Channels of the two convolutions of `convnet`."""
_CUSTOM = r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*"
_NAMED = re.compile(rf"(?P<factory>\w+|{_CUSTOM})\[(?P<shape>\d+(x\d+)*),(?P<classes>\d+)\]")

Factory = Callable[[tuple[int, ...], int], nn.Module]


def mlp(shape: tuple[int, ...], classes: int) -> nn.Module:
    """One hidden layer, for vectors of features: inputs [B, *shape], scores [B, classes]."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(shape), HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, classes),
    )


def convnet(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Two convolutions of stride 2, for pictures [channels, height, width] or [height, width].

    Groups are normalised, and no batch: a batch's statistics would carry one record into another.

    Raises:
        InputError: the shape is that of no picture.
    """
    if len(shape) not in (2, 3):
        raise InputError(
            f"convnet takes pictures, [channels, height, width], and the inputs are {list(shape)}: "
            "take mlp"
        )
    channels, height, width = (1, *shape)[-3:]
    first, second = CHANNELS
    size = second * math.ceil(height / 4) * math.ceil(width / 4)
    begun = [nn.Unflatten(1, (1, height))] if len(shape) == 2 else []
    return nn.Sequential(
        *begun,
        nn.Conv2d(channels, first, 5, stride=2, padding=2),
        nn.GroupNorm(4, first),
        nn.ReLU(),
        nn.Conv2d(first, second, 5, stride=2, padding=2),
        nn.GroupNorm(4, second),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(size, classes),
    )


FACTORIES: dict[str, Factory] = {"mlp": mlp, "convnet": convnet}
"""Networks with a short name."""


def is_factory(name: str) -> bool:
    """Whether a name is that of a factory: a short one, or `module:function`."""
    return name in FACTORIES or re.fullmatch(_CUSTOM, name) is not None


def usual(shape: Sequence[int]) -> str:
    """The network for inputs of a shape where nobody names one."""
    return "convnet" if len(shape) > 1 else "mlp"


@dataclass(frozen=True)
class Architecture:
    """What determines a network but for its weights.

    Attributes:
        factory: a short name, or `module:function`.
        shape: of an input.
        classes: their number.

    >>> str(Architecture("convnet", (3, 32, 32), 10))
    'convnet[3x32x32,10]'
    >>> Architecture.read("mlp[64,10]")
    Architecture(factory='mlp', shape=(64,), classes=10)
    """

    factory: str
    shape: tuple[int, ...]
    classes: int

    def __str__(self) -> str:
        """Its name, which `read` reads."""
        return f"{self.factory}[{'x'.join(map(str, self.shape))},{self.classes}]"

    @classmethod
    def read(cls, name: str) -> Architecture | None:
        """The architecture of that name; None where it is none."""
        found = _NAMED.fullmatch(name)
        if found is None or not is_factory(found["factory"]):
            return None
        shape = tuple(map(int, found["shape"].split("x")))
        return cls(found["factory"], shape, int(found["classes"]))

    def made(self, *, seed: int = 0, trusted: Collection[str] = ()) -> Network:
        """A network of random weights, in evaluation mode.

        Raises:
            InputError: the factory is code that nobody named as trusted, or it makes no module that
                scores these classes.
        """
        factory = FACTORIES.get(self.factory) or _imported(self.factory, trusted)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made: Any = factory(self.shape, self.classes)
        if not isinstance(made, nn.Module):
            raise InputError(
                f"the factory {self.factory} gave a {type(made).__name__}: it must give a "
                "torch.nn.Module"
            )
        return Network(made, self).eval()


def _imported(name: str, trusted: Collection[str]) -> Factory:
    if name not in trusted:
        raise InputError(
            f"the factory {name} is code of yours, and is run where it is trusted: name it under "
            "'trusted' in olvido.toml"
        )
    module, _, function = name.partition(":")
    try:
        found: Any = import_module(module)
        for part in function.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"the factory {name} cannot be imported ({error}): install its package, or put its "
            "folder on PYTHONPATH"
        ) from error
    if not callable(found):
        raise InputError(f"the factory {name} cannot be called: give a function of shape, classes")
    made: Factory = found
    return made


class Scorer(nn.Module):
    """A module in another that makes its input or output fit: inputs [B, ...], scores [B, C].

    Attributes:
        inner: the module itself, whose layers count.
    """

    inner: nn.Module

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner


def hidden_size(model: nn.Module, *, otherwise: int) -> int:
    """The hidden size that the settings of a model, or of the one inside a `Scorer`, name.

    Args:
        otherwise: what counts where they name none, or there are none.
    """
    inside = model.inner if isinstance(model, Scorer) else model
    return int(getattr(getattr(inside, "config", None), "hidden_size", otherwise))


class Network(Scorer):
    """A module that a factory made, which can be written and read again.

    Args:
        inner: the module.
        architecture: how it was made.
    """

    def __init__(self, inner: nn.Module, architecture: Architecture) -> None:
        super().__init__(inner)
        self.architecture = architecture

    def forward(self, inputs: Tensor) -> Any:
        """What the module gives: scores. [B, C]"""
        return self.inner(inputs)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write weights and architecture; the folder is made where it is missing."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_model(self.inner, str(folder / WEIGHTS))
        document = {"format": FORMAT, "architecture": str(self.architecture)}
        write_document(document, folder / DOCUMENT)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, trusted: Collection[str] = ()) -> Network:
        """Read what `save_pretrained` wrote, in evaluation mode.

        Args:
            folder: the network's.
            trusted: factories whose code may run.

        Raises:
            InputError: the folder holds no network, its factory is not trusted, or its weights are
                those of another architecture.
            OSError, SafetensorError: it cannot be read.
        """
        folder = Path(folder)
        document = read_document(folder / DOCUMENT)
        found = Architecture.read(str(document.get("architecture")))
        if document.get("format") != FORMAT or found is None:
            raise InputError(
                f"{folder / DOCUMENT} is none that this version reads: expected the format "
                f'{FORMAT} and an architecture such as "mlp[64,10]"'
            )
        made = found.made(trusted=trusted)
        try:
            load_model(made.inner, str(folder / WEIGHTS))
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{folder / WEIGHTS} are not the weights of {found} ({reason[:300]}): put those of "
                "this architecture there"
            ) from error
        return made
