"""Classifiers of transformers: what they answer here is what transformers has them answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.outside import CLASSES, begin_modernbert, begin_vit, pictures
from transformers import (
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    ViTImageProcessor,
)

from olvido.errors import InputError
from olvido.models import as_one, load, save
from olvido.models.classifiers.networks import hidden_size
from olvido.models.elsewhere import require_enterable
from olvido.models.tiny import tiny_tokenizer
from olvido.tasks import Labels, TextLabels, examples

TEXTS = ["Where does Ana live?", "In the harbour.", "Who?"]


def test_pictures_are_scored_as_transformers_scores_them(tmp_path: Path) -> None:
    folder = begin_vit(tmp_path / "vit")
    loaded = load(folder)
    assert loaded.noted == {"task": "labels", "classes": list(CLASSES)}
    assert (
        hidden_size(loaded.model, otherwise=7) == hidden_size(loaded.model.inner, otherwise=7) == 32
    )
    rows = pictures(2, 2)
    records = examples(
        {"input": pixels, "label": str(label)}
        for pixels, label in zip(rows["input"], rows["label"], strict=True)
    )
    task = Labels.made(None, loaded.noted, records)
    with torch.no_grad():
        found = task.logits(loaded.model, task.collate(records))
        processor = ViTImageProcessor.from_pretrained(folder)
        pixels = processor(
            list(rows["input"]), return_tensors="pt", input_data_format="channels_first"
        )
        expected = AutoModelForImageClassification.from_pretrained(folder)(**pixels).logits
    assert torch.allclose(found, expected, atol=1e-5)
    assert task.probabilities(loaded.model, task.asked(rows["input"][0])).keys() == set(CLASSES)


def test_texts_are_scored_as_transformers_scores_them(tmp_path: Path) -> None:
    folder = begin_modernbert(tmp_path / "bert", tiny_tokenizer(), ["no", "yes"])
    loaded = load(folder)
    assert loaded.noted == {"task": "text-labels", "classes": ["no", "yes"]}
    records = examples({"prompt": text, "completion": "yes"} for text in TEXTS)
    task = TextLabels.made(loaded.tokenizer, loaded.noted, records)
    with torch.no_grad():
        found = task.logits(loaded.model, task.collate(records))
        model = AutoModelForSequenceClassification.from_pretrained(folder)
        alone = [model(**loaded.tokenizer(text, return_tensors="pt")).logits for text in TEXTS]
    assert torch.allclose(found, torch.cat(alone), atol=1e-5)
    assert sorted(id for batch in task.batches(records, 2) for id in batch.ids) == sorted(
        record.id for record in records
    )


@pytest.mark.parametrize("kind", ["vit", "bert"])
def test_it_is_read_again_bit_by_bit(tmp_path: Path, kind: str) -> None:
    folder = (
        begin_vit(tmp_path / "a")
        if kind == "vit"
        else begin_modernbert(tmp_path / "a", tiny_tokenizer(), ["no", "yes"])
    )
    first = load(folder)
    save(first.model, first.tokenizer, tmp_path / "b")
    again = load(tmp_path / "b")
    assert (again.digest, again.noted, again.unused) == (first.digest, first.noted, ())
    together = as_one([first.model, first.model])
    save(together, first.tokenizer, tmp_path / "c")
    third = load(tmp_path / "c")
    assert (third.noted, (third.tokenizer is None)) == (first.noted, kind == "vit")
    require_enterable(folder)


def _config(**changes: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def _preprocessing(**changes: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "preprocessor_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (_config(problem_type="multi_label_classification"), "choose one class among several"),
        (_config(num_labels=1, id2label={"0": "x"}), "other shapes|one class among several"),
        (_preprocessing(rescale_factor=1.0), "does not bring pixels from 0 to 1"),
        (_preprocessing(do_rescale=False), "does not bring pixels from 0 to 1"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 100), "no classifier"),
        (_config(auto_map={"AutoModel": "x.Y"}), "trusted"),
    ],
)
def test_what_cannot_be_used_is_refused(
    tmp_path: Path, spoil: Callable[[Path], None], match: str
) -> None:
    folder = begin_vit(tmp_path / "vit")
    spoil(folder)
    with pytest.raises(InputError, match=match):
        load(folder)


def test_records_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = 4
    for row, match in (
        ({"prompt": "Where does Ana live?", "completion": "yes"}, "at most 4 fit"),
        ({"text": "Where does Ana live?"}, "no text beside its class"),
        ({"prompt": "Who?", "completion": "perhaps"}, "none of the 2 classes"),
    ):
        with pytest.raises(InputError, match=match):
            TextLabels.made(tokenizer, {"classes": ["no", "yes"]}, examples([row]))
    vit = load(begin_vit(tmp_path / "vit"))
    task = Labels.made(None, vit.noted, examples([{"input": np.zeros((3, 6, 6)), "label": "east"}]))
    with pytest.raises(InputError, match="cannot take inputs"):
        task.logits(
            vit.model, task.collate(examples([{"input": np.zeros((3, 6, 6)), "label": "east"}]))
        )
