"""Classifiers of transformers: pictures or texts in, a score for each class out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from olvido.errors import InputError
from olvido.files import write_document
from olvido.models.classifiers.networks import Scorer
from olvido.models.folder import read_whole

PREPROCESSOR = "preprocessor_config.json"
IMAGES, TEXTS = "ForImageClassification", "ForSequenceClassification"
_GENERIC = "LABEL_{}"


def kind_of(config: Mapping[str, Any]) -> str | None:
    """What a model classifies, by its settings: `IMAGES` or `TEXTS`; None where it is no classifier
    of one class among several."""
    named = config.get("architectures") or ()
    ends = {named} if isinstance(named, str) else {str(one) for one in named}
    return next((kind for kind in (IMAGES, TEXTS) if any(e.endswith(kind) for e in ends)), None)


class Pretrained(Scorer):
    """A classifier of transformers, as a module of one tensor in and one out.

    Args:
        inner: the classifier.
        kind: `IMAGES` or `TEXTS`.
        preprocessing: its `preprocessor_config.json`; empty where it has none.

    Attributes:
        tokens: whether inputs are tokens and their mask [B, 2, T]; else pictures [B, C, H, W],
            whose channels are normalised here, by the constants of the preprocessing.

    Raises:
        InputError: it does not choose one class among two or more, or its pictures are prepared in
            another way.
    """

    def __init__(self, inner: Any, kind: str, preprocessing: Mapping[str, Any]) -> None:
        super().__init__(inner)
        self.kind, self.preprocessing = kind, dict(preprocessing)
        self.tokens = kind == TEXTS
        config = inner.config
        problem = getattr(config, "problem_type", None)
        if config.num_labels < 2 or problem not in (None, "single_label_classification"):
            raise InputError(
                f"{type(inner).__name__} has {config.num_labels} outputs for the problem "
                f"{problem}: only classifiers that choose one class among several can be used"
            )
        mean, std = _constants(self.preprocessing)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    @property
    def noted(self) -> dict[str, Any]:
        """What is known of its task: the name, and the classes in their order."""
        config: Any = self.inner.config
        names = [str(config.id2label[place]) for place in range(config.num_labels)]
        if names == [_GENERIC.format(place) for place in range(len(names))]:
            names = [str(place) for place in range(len(names))]
        return {"task": "text-labels" if self.tokens else "labels", "classes": names}

    def over(self, inner: Any) -> Pretrained:
        """The same around another classifier, on its device and in its mode."""
        made = type(self)(inner, self.kind, self.preprocessing)
        return made.to(next(inner.parameters()).device).train(inner.training)

    def forward(self, inputs: Tensor) -> Tensor:
        """A score for each class. [B, C]"""
        scores: Tensor = self.inner(**self._inputs(inputs)).logits
        return scores

    def _inputs(self, inputs: Tensor) -> dict[str, Tensor]:
        if self.tokens:
            ids, mask = inputs.unbind(1)
            return {"input_ids": ids, "attention_mask": mask}
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        dtype = next(self.inner.parameters()).dtype
        return {"pixel_values": ((inputs - mean) / std).to(dtype)}

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the classifier in Hugging Face format, with its preprocessing."""
        inner: Any = self.inner
        inner.save_pretrained(folder)
        if self.preprocessing:
            write_document(self.preprocessing, Path(folder) / PREPROCESSOR)


def read_classifier(
    folder: str | Path, kind: str, *, code: bool = False, dtype: str, device: str
) -> tuple[Pretrained, tuple[str, ...]]:
    """A classifier from a folder, in evaluation mode, and the names of tensors it does not use.

    Errors are those of `read_whole`, and of `Pretrained`.
    """
    from transformers import (
        AutoModelForImageClassification,
        AutoModelForSequenceClassification,
    )

    auto: Any = (
        AutoModelForSequenceClassification if kind == TEXTS else AutoModelForImageClassification
    )
    inner, unused = read_whole(folder, auto, code=code, dtype=dtype, device=device)
    path = Path(folder) / PREPROCESSOR
    preprocessing = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return Pretrained(inner, kind, preprocessing).eval(), unused


def _constants(preprocessing: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Mean and deviation by which pixels from 0 to 1 are normalised. [C, 1, 1] each

    Raises:
        InputError: pixels have another range, or a picture is cut.
    """
    scale = preprocessing.get("rescale_factor", 1 / 255)
    if preprocessing.get("do_rescale") is False or abs(scale - 1 / 255) > 1e-9:
        raise InputError(
            f"{PREPROCESSOR} does not bring pixels from 0 to 1 (rescale_factor {scale}): such a "
            "model cannot be used here"
        )
    if preprocessing.get("do_normalize") is False or "image_mean" not in preprocessing:
        return torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    mean, std = (preprocessing[name] for name in ("image_mean", "image_std"))
    made = [
        torch.tensor(one if isinstance(one, list) else [one], dtype=torch.float32)[:, None, None]
        for one in (mean, std)
    ]
    return made[0], made[1]
