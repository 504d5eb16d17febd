"""From a name to a model and its tokenizer: `tiny`, `smollm2`, a folder, or a hub id."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from olvido.errors import DigestMismatch, InputError, ParameterName, StateError, UnknownName
from olvido.files import new_folder
from olvido.models.adapter import (
    base_of,
    base_under,
    is_adapter,
    is_on_base,
    on_base,
    read_adapter,
    save_on_base,
)
from olvido.models.classifiers.networks import DOCUMENT as NETWORK
from olvido.models.classifiers.networks import FACTORIES, Architecture, Network, Scorer
from olvido.models.classifiers.pretrained import TEXTS, Pretrained, kind_of, read_classifier
from olvido.models.digest import weights_digest
from olvido.models.ensemble import DOCUMENT, Ensemble, LanguageEnsemble
from olvido.models.folder import (
    TOKENIZERS,
    is_odd,
    read_causal,
    read_causal_whole,
    read_config,
    read_settings,
    require_own,
)
from olvido.models.routed import MARK, Routed
from olvido.models.smollm2 import default_cache, fetch
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.settings import DTYPES


@dataclass(frozen=True)
class Loaded:
    """A model with the tokenizer it was made for.

    Attributes:
        model: a `torch.nn.Module`, in evaluation mode.
        tokenizer: its Hugging Face tokenizer; None for a network, which reads no text.
        name: the name it was loaded by.
        unused: names of tensors in its files that the model does not use.
        noted: what is known of its task, as `Task.noted`: the name under `task`, and of a
            classifier the names of its classes.
    """

    model: Any
    tokenizer: Any
    name: str
    unused: tuple[str, ...] = ()
    noted: Mapping[str, Any] = field(default_factory=lambda: {"task": "language"})

    @property
    def digest(self) -> str:
        """The digest of the weights."""
        return weights_digest(self.model)


def _tiny(seed: int, cache: Path, **how: Any) -> Loaded:
    tokenizer = tiny_tokenizer()
    return Loaded(tiny_model(len(tokenizer), seed=seed).eval(), tokenizer, "tiny")


def _smollm2(seed: int, cache: Path, **how: Any) -> Loaded:
    return _pretrained(str(fetch(cache)), "smollm2", **how)


HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
READING = (
    *(ArithmeticError, AttributeError, ImportError, KeyError, OSError, RuntimeError),
    *(SafetensorError, TypeError, ValueError),
)
"""What a folder that is damaged, or none of a model, raises while it is read."""
LABELS = {"task": "labels"}
"""What is known of the task of a network."""
MODELS: dict[str, Callable[..., Loaded]] = {"tiny": _tiny, "smollm2": _smollm2}
"""Models with a short name."""


def load(
    name: str | Path,
    *,
    seed: int = 0,
    dtype: str = "float32",
    device: str = "cpu",
    cache: Path | None = None,
    trusted: Collection[str] = (),
    base: Callable[[str], Loaded] | None = None,
) -> Loaded:
    """Load a model by a short name, a folder in Hugging Face format, or a hub id.

    A network is named with an input's shape and the number of classes, as `mlp[64,10]`, or
    `package.module:function[3x32x32,10]` where a function of yours makes it. A folder with an
    ensemble, or a model of modules, gives one model that answers for all; one with a LoRA adapter
    gives a `peft.PeftModel` on its base, of which only the adapter is trainable.

    Args:
        name: `tiny`, `smollm2`, a path, or `organisation/model`.
        seed: the seed of `tiny`'s weights, and of networks; trained models ignore it.
        dtype: `float32`, `bfloat16`, `float16`, or `auto`: the type of the files. They are read in
            it, and without a second copy in another.
        device: device of its weights, in torch's terms: `cpu`, `cuda`, `cuda:1`, `mps`.
        cache: folder of downloaded models.
        trusted: folders, hub ids or factories whose own code may run; no other's does.
        base: loads an adapter's base by the name that the adapter has for it; None: as this does.

    Raises:
        UnknownName: no such short name or folder.
        InputError: the folder holds no causal language model, the hub cannot be reached, this
            machine has no such device, or an adapter's base is not there or not its base.
        DigestMismatch: an adapter's base has other weights than when the adapter was written.

    >>> load("tiny", seed=3).digest == load("tiny", seed=3).digest
    True
    """
    if dtype not in DTYPES:
        raise UnknownName("dtype", dtype, DTYPES)
    require_device(device)
    text = str(name)
    if text in MODELS:
        loaded = MODELS[text](seed, cache or default_cache(), dtype=dtype, device=device)
    elif (built := Architecture.read(text)) is not None:
        loaded = Loaded(built.made(seed=seed, trusted=trusted), None, text, noted=LABELS)
    elif Path(text).is_dir() or HUB_ID.fullmatch(text):
        if not Path(text).is_dir() and Path(text).parent.is_dir():
            # Without a network, requests to the hub would take minutes.
            raise InputError(
                f"there is no model {text}: {Path(text).parent} is a folder here, and holds no "
                f"{Path(text).name!r}"
            )
        code = text in trusted or Path(text).name in trusted
        how: dict[str, Any] = {"code": code, "dtype": dtype, "device": device}
        if is_adapter(Path(text)):
            usual = partial(load, seed=seed, dtype=dtype, device=device, cache=cache,
                            trusted=trusted)  # fmt: skip
            loaded = _adapted(Path(text), base or usual, code=code)
        else:
            loaded = _scorer(text, trusted=trusted, **how) or _pretrained(text, text, **how)
    else:
        known = [*MODELS, *FACTORIES, "a folder", "organisation/model"]
        raise UnknownName("model", text, known)
    model = loaded.model.to(device)
    if isinstance(model, Ensemble | Routed):
        # Their parts are files of several types, which only compute together in one.
        model = model.to(next(model.parameters()).dtype if dtype == "auto" else _type(dtype))
    elif dtype != "auto":
        # Parameters alone: buffers such as the frequencies of rotary positions are computed in
        # float32 whatever the weights' type is, and rounding them would move later positions.
        for parameter in model.parameters():
            parameter.data = parameter.data.to(_type(dtype))
    return replace(loaded, model=model)


def _adapted(folder: Path, base: Callable[[str], Loaded], *, code: bool) -> Loaded:
    """A base with the adapter in a folder on it; the tokenizer of the folder, or else the base's.

    Raises:
        InputError, DigestMismatch: see `load`.
    """
    require_own(folder, code=code)
    adapter, (name, digest) = read_adapter(folder), base_of(folder)
    if not name:
        raise InputError(
            f"{folder} is an adapter, and does not say what it is put on: name its base (",
            ParameterName("base"),
            ")",
        )
    try:
        found = base(name)
    except InputError as error:
        raise InputError(
            f"{folder} is an adapter on the base {name!r}, which cannot be loaded: put it there, "
            f"or name it ({error})"
        ) from error
    if digest is not None and found.digest != digest:
        raise DigestMismatch(f"the base {name!r} of the adapter in {folder}", digest, found.digest)
    tokenizer = found.tokenizer
    if any((folder / file).is_file() for file in TOKENIZERS):
        tokenizer = _tokenizer(str(folder), code=code)
    return Loaded(on_base(found.model, adapter, found.name), tokenizer, str(folder), found.unused)


def _type(name: str) -> Any:
    import torch

    return getattr(torch, name)


def require_device(name: str) -> None:
    """Refuse a device that torch does not know, or that this machine does not have.

    Raises:
        InputError: there is no such device; the message lists the available ones.
    """
    import torch

    try:
        torch.empty(1, device=name)
    except (AssertionError, RuntimeError, NotImplementedError) as error:
        here = ["cpu", *(d for d in ("cuda", "mps", "xpu") if _there(d))]
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"device {name!r} cannot be used ({reason}): this machine has {', '.join(here)}"
        ) from None


def _there(device: str) -> bool:
    import torch

    found = getattr(torch, device, None)
    return bool(found and found.is_available())


def _scorer(where: str, *, trusted: Collection[str], **how: Any) -> Loaded | None:
    """The network or classifier in a folder, or an ensemble of them; None for any other model."""
    folder = Path(where)
    members = sorted(folder.glob("member-*"))
    first = members[0] if members and (folder / DOCUMENT).is_file() else folder
    kind = None if (first / NETWORK).is_file() else kind_of(read_settings(first))
    if kind is None and not (first / NETWORK).is_file():
        return None
    unused: list[str] = []

    def read(home: Path) -> Scorer:
        require_own(home, code=bool(how["code"]))
        if kind is None:
            return Network.from_pretrained(home, trusted=trusted)
        found, left = read_classifier(home, kind, **how)
        unused.extend(left)
        return found

    try:
        model = read(folder) if first is folder else Ensemble.from_folder(folder, read)
        tokenizer = _tokenizer(where, code=how["code"]) if kind == TEXTS else None
    except READING as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"no classifier can be read from {where!r}: {reason}") from error
    one = model.members[0] if isinstance(model, Ensemble) else model
    noted = one.noted if isinstance(one, Pretrained) else LABELS
    return Loaded(model, tokenizer, where, tuple(unused), noted)


def _tokenizer(where: str, *, code: bool) -> Any:
    from transformers import AutoTokenizer

    given = {"config": read_config(Path(where))} if is_odd(Path(where)) else {}
    return AutoTokenizer.from_pretrained(where, trust_remote_code=code, **given)


def _pretrained(where: str, name: str, *, dtype: str, device: str, code: bool = False) -> Loaded:
    from huggingface_hub.errors import StrictDataclassError

    require_own(Path(where), code=code)
    try:
        model: Any
        unused: tuple[str, ...] = ()
        if (Path(where) / DOCUMENT).is_file():
            model = LanguageEnsemble.from_folder(where, partial(read_causal, dtype=dtype))
        elif (Path(where) / MARK).is_file():
            model = Routed.from_pretrained(where, dtype=dtype)
        else:
            model, unused = read_causal_whole(where, code=code, dtype=dtype, device=device)
        tokenizer = _tokenizer(where, code=code)
    except (*READING, StrictDataclassError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"no causal language model can be read from {name!r}: {reason}. Give a folder made by "
            "save_pretrained (model and tokenizer), or a hub id that this machine can reach"
        ) from error
    return Loaded(model, tokenizer, name, unused)


def save(
    model: Any, tokenizer: Any, folder: Path, *, fill: Callable[[Path], None] | None = None
) -> None:
    """Write a model and its tokenizer in Hugging Face format, durably and atomically.

    Args:
        model, tokenizer: as `load` gives them; a network has no tokenizer.
        folder: a new one.
        fill: writes further files into it before it gets its name.

    Raises:
        InputError: the folder exists already.
    """
    if folder.exists():
        raise InputError(f"{folder} exists already: choose another folder, or remove it first")
    try:
        with new_folder(folder) as unfinished:
            if is_on_base(model):
                save_on_base(model, unfinished)
            else:
                model.save_pretrained(unfinished)
            if tokenizer is not None:
                tokenizer.save_pretrained(unfinished)
            if fill is not None:
                fill(unfinished)
    except SafetensorError as error:
        # It hides the system's error, a full disk's among them, in its text.
        raise StateError(
            f"{folder} could not be written ({error}): see that the disk has room, then try again"
        ) from error


def require_finite(model: Any, whose: str, remedy: str) -> None:
    """Raise InputError where a weight is no number; it says whose weights, and what to do."""
    import torch

    for name, tensor in model.named_parameters():
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(
                f"the weights {name!r} {whose}hold values that are infinite or no number: {remedy}"
            )


def require_base(name: str, base: Any, model: Any) -> None:
    """Refuse a base that has other tensors than a model that was trained from it, or is the model.

    Args:
        name: of the base, as the message shall have it.
        base: the weights that the training is said to have begun with.
        model: the model; of an adapter, the base lies under it.

    Raises:
        InputError: the first difference, or that there is none.
    """
    if weights_digest(base) == weights_digest(model):
        raise InputError(
            f"the base {name} has the weights of the model itself, and knows what that one "
            "learned: give the model that its training began with"
        )
    given, expected = (
        {n: tuple(p.shape) for n, p in one.named_parameters()}
        for one in (base, base_under(model) if is_on_base(model) else model)
    )
    if odd := sorted({*expected.items()} ^ {*given.items()}):
        place = odd[0][0]
        raise InputError(
            f"{name} is not the base of this model, their tensors differ (first: {place}, expected "
            f"{expected.get(place, 'none')}, got {given.get(place, 'none')}): give the model that "
            "its training began with"
        )
