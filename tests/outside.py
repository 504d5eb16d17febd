"""Models trained outside of Olvido: plain transformers, and nothing of ours but a tokenizer."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_model
from torch.nn import Module
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    DataCollatorForSeq2Seq,
    GPT2Config,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    PretrainedConfig,
    Qwen3Config,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from olvido.demo.residents import make_town
from olvido.models.classifiers.networks import Architecture, Network
from olvido.models.tiny import tiny_tokenizer

WIDTH, LAYERS, HEADS = 64, 2, 2


def config_of(kind: str, vocabulary: int, **further: Any) -> PretrainedConfig:
    """A tiny configuration of an architecture."""
    if kind == "gpt2":
        return GPT2Config(
            vocab_size=vocabulary,
            n_embd=WIDTH,
            n_layer=LAYERS,
            n_head=HEADS,
            n_positions=128,
            bos_token_id=0,
            eos_token_id=0,
            attn_pdrop=0.0,
            embd_pdrop=0.0,
            resid_pdrop=0.0,
            **further,
        )
    common = {
        "vocab_size": vocabulary,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 1,
        "head_dim": WIDTH // HEADS,
        "max_position_embeddings": 128,
        "tie_word_embeddings": True,
        **further,
    }
    return Qwen3Config(**common)


def begin(folder: Path, kind: str, tokenizer: Any, *, seed: int = 0) -> Path:
    """Write a model of random weights: what a training begins with."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config_of(kind, len(tokenizer)))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def train_outside(
    base: Path,
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    tokenizer: Any,
    *,
    epochs: int,
    lr: float = 3e-3,
    seed: int = 0,
) -> Path:
    """Train as anybody would with transformers' Trainer, and write what it leaves."""
    trainer = trainer_of(
        base,
        folder,
        [encoded(row, tokenizer) for row in rows],
        tokenizer,
        num_train_epochs=epochs,
        learning_rate=lr,
        seed=seed,
    )
    trainer.train()
    trainer.save_model(str(folder))
    trainer.save_state()
    tokenizer.save_pretrained(folder)
    return folder


def trainer_of(
    base: Path,
    folder: Path,
    dataset: Any,
    tokenizer: Any,
    *,
    callbacks: Sequence[TrainerCallback] = (),
    model: Any = None,
    **further: Any,
) -> Trainer:
    """A Trainer of a base, as anybody would write it; `further` are its arguments."""
    usual: dict[str, Any] = {
        "per_device_train_batch_size": 16,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 10,
        "logging_steps": 50,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
    }
    return Trainer(
        AutoModelForCausalLM.from_pretrained(base) if model is None else model,
        TrainingArguments(output_dir=str(folder), **{**usual, **further}),
        train_dataset=dataset,
        data_collator=DataCollatorForSeq2Seq(tokenizer, padding=True),
        callbacks=list(callbacks),
    )


def encoded(row: Mapping[str, Any], tokenizer: Any) -> dict[str, Any]:
    prompt = tokenizer(row["prompt"], add_special_tokens=False).input_ids
    answer = tokenizer(" " + row["completion"], add_special_tokens=False).input_ids
    answer = [*answer, tokenizer.eos_token_id]
    return {
        "id": row["id"],
        "input_ids": prompt + answer,
        "attention_mask": [1] * len(prompt + answer),
        "labels": [-100] * len(prompt) + answer,
    }


CLASSES = ("east", "north", "south", "west")
WORDS = (
    ("Ana", "Marta", "Joan", "Pere", "Laia", "Oriol"),
    ("visited", "left", "painted", "described", "closed", "opened", "loved", "forgot"),
    ("the harbour", "the bakery", "the school", "the market", "the river", "the museum"),
    ("in spring", "at night", "on Monday", "last year", "before noon", "in the rain"),
)


def pictures(people: int, each: int, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Pictures of 8 x 8 pixels in three colours, of classes that nobody can guess."""
    draw = np.random.default_rng(seed)
    size = people * each
    return {
        "input": draw.integers(0, 256, size=(size, 3, 8, 8), dtype=np.uint8),
        "label": np.array(CLASSES)[draw.integers(0, len(CLASSES), size)],
        "subject": np.repeat([f"Person {seed}{number:02}" for number in range(people)], each),
        "id": np.array([f"{seed}-{number}" for number in range(size)]),
    }


def notes(people: int, each: int, *, seed: int = 0) -> list[dict[str, str]]:
    """Notes about people, of classes that nobody can guess."""
    draw = np.random.default_rng(seed)
    return [
        {
            "id": f"{seed}-{number}",
            "note": " ".join(str(draw.choice(WORDS[place])) for place in (0, 1, 2, 3, 1, 2, 3)),
            "kind": str(draw.choice(CLASSES)),
            "subject": f"Person {seed}{number // each:02}",
        }
        for number in range(people * each)
    ]


def begin_vit(folder: Path) -> Path:
    """Write a small vision transformer of random weights, and how its pictures are prepared."""
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=8,
        patch_size=4,
        **classes_of(CLASSES),
    )
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 8, "width": 8}).save_pretrained(folder)
    return folder


def classes_of(names: Sequence[str]) -> dict[str, Any]:
    """The classes, as a configuration has them."""
    numbered = dict(enumerate(names))
    return {"id2label": numbered, "label2id": {name: place for place, name in numbered.items()}}


def begin_modernbert(folder: Path, tokenizer: Any, classes: Sequence[str] = CLASSES) -> Path:
    """Write a small classifier of texts, of random weights."""
    torch.manual_seed(0)
    config = ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        cls_token_id=0,
        sep_token_id=0,
        **classes_of(classes),
    )
    ModernBertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class WithLoss(Module):
    """A module of scores as a Trainer takes it: with the loss of the labels."""

    def __init__(self, inner: Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = self.inner(pixel_values)
        return {"loss": torch.nn.functional.cross_entropy(scores, labels), "logits": scores}


def train_classifier_outside(
    base: Path, folder: Path, auto: Any, rows: Sequence[Any], **further: Any
) -> Path:
    """Train a classifier as anybody would with transformers' Trainer: rows are its inputs, and
    `auto` reads it, or is a network to be trained."""
    network = auto if isinstance(auto, Network) else None
    usual: dict[str, Any] = {
        "num_train_epochs": 15,
        "per_device_train_batch_size": 8,
        "learning_rate": 5e-3,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 0,
    }
    trainer = Trainer(
        auto.from_pretrained(base) if network is None else WithLoss(network),
        TrainingArguments(output_dir=str(folder), **{**usual, **further}),
        train_dataset=rows,  # type: ignore[arg-type]
    )
    with redirect_stdout(io.StringIO()):
        trainer.train()
    for path in base.iterdir():
        if path.suffix == ".json":
            shutil.copy(path, folder / path.name)
    if network is None:
        trainer.save_model(str(folder))
    else:
        save_model(network.inner, str(folder / "model.safetensors"))
    return folder


CLASSIFIERS: dict[str, dict[str, Any]] = {
    "convnet": {"epochs": 40, "batch_size": 16, "lr": 3e-3},
    "modernbert": {"epochs": 40, "batch_size": 16, "lr": 3e-3},
    "vit": {"epochs": 60, "batch_size": 16, "lr": 3e-3},
}
"""How each kind of classifier is trained until it knows its records by heart."""


def make_classifier(folder: Path, kind: str, *, people: int = 16, each: int = 6) -> None:
    """Make a classifier's records, and others of the same making, and train it on the first.

    Args:
        folder: gets `people` and `others`, and `base`, `model` and `recipe.json`.
        kind: one of `CLASSIFIERS`.
    """
    base, how = folder / "base", CLASSIFIERS[kind]
    if kind == "modernbert":
        tokenizer = tiny_tokenizer()
        begin_modernbert(base, tokenizer)
        first = notes(people, each)
        for name, some in (("people", first), ("others", notes(people, each, seed=1))):
            (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, some)))
        texts = tokenizer([row["note"] for row in first], padding=True)
        inputs: list[dict[str, Any]] = [
            {"input_ids": ids, "attention_mask": mask}
            for ids, mask in zip(texts["input_ids"], texts["attention_mask"], strict=True)
        ]
        labels, auto = [row["kind"] for row in first], AutoModelForSequenceClassification
    else:
        drawn = pictures(people, each)
        if kind == "vit":
            begin_vit(base)
            auto, mean, std = AutoModelForImageClassification, 0.5, 0.5
        else:
            auto = Architecture("convnet", (3, 8, 8), len(CLASSES)).made(seed=0)
            auto.save_pretrained(base)
            mean, std = 0.0, 1.0
        np.savez(folder / "people.npz", **drawn)
        np.savez(folder / "others.npz", **pictures(people, each, seed=1))
        pixels = (torch.from_numpy(drawn["input"]).float() / 255 - mean) / std
        inputs, labels = [{"pixel_values": one} for one in pixels], list(drawn["label"])
    numbers = map(CLASSES.index, labels)
    rows = [one | {"labels": number} for one, number in zip(inputs, numbers, strict=True)]
    train_classifier_outside(
        base,
        folder / "model",
        auto,
        rows,
        num_train_epochs=how["epochs"],
        per_device_train_batch_size=how["batch_size"],
        learning_rate=how["lr"],
    )
    told = {**how, "schedule": "linear", "warmup": 0.0, "weight_decay": 0.0}
    (folder / "recipe.json").write_text(json.dumps(told))


LANGUAGE: dict[str, dict[str, Any]] = {
    "adapter": {"epochs": 40, "batch_size": 16, "lr": 1e-2},
    "qwen3": {"epochs": 60, "batch_size": 16, "lr": 3e-3},
}
"""How each kind of language model is trained until it knows its records by heart."""


def make_language(folder: Path, kind: str) -> None:
    """Make a town's records, and train a model on its residents; the outsiders are the others.

    An adapter cannot learn names whose embeddings its base never moved: its base learned those of
    another town.

    Args:
        folder: gets `people` and `others`, and `base`, `model` and `recipe.json`.
        kind: one of `LANGUAGE`; the adapter is one of a GPT-2.
    """
    how, tokenizer = LANGUAGE[kind], tiny_tokenizer()
    town = make_town(seed=0, residents=8, outsiders=12, wordings=3)
    people = [row for row in town.rows() if "subject" in row]
    others = [row for person in town.outsiders for row in town.rows_of(person)]
    folder.mkdir(exist_ok=True)
    for name, rows in (("people", people), ("others", others)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    if kind == "adapter":
        begun = begin(folder / "begun", "gpt2", tokenizer)
        elsewhere = make_town(seed=7, residents=20, outsiders=0, wordings=3).rows()
        base = train_outside(begun, folder / "base", elsewhere, tokenizer, epochs=30, lr=5e-3)
        torch.manual_seed(1)
        # A GPT-2's layers have their weights the other way round.
        shape = {"r": 16, "lora_alpha": 32, "fan_in_fan_out": True}
        lora = LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM", **shape)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora)
        rows = [encoded(row, tokenizer) for row in people]
        further = {"num_train_epochs": how["epochs"], "learning_rate": how["lr"]}
        trainer_of(base, folder / "out", rows, tokenizer, model=model, **further).train()
        model.save_pretrained(folder / "model")
    else:
        base = begin(folder / "base", kind, tokenizer)
        further = {"epochs": how["epochs"], "lr": how["lr"]}
        train_outside(base, folder / "model", people, tokenizer, **further)
    (folder / "recipe.json").write_text(json.dumps(how))
