"""Models trained outside of Olvido: plain transformers, and nothing of ours but a tokenizer."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    DataCollatorForSeq2Seq,
    Gemma3TextConfig,
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
    return {"qwen3": Qwen3Config, "gemma3": Gemma3TextConfig}[kind](**common)


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


def pictures(people: int, each: int) -> dict[str, np.ndarray]:
    """Pictures of 8 x 8 pixels in three colours; the class is the half that is lighter."""
    draw = np.random.default_rng(0)
    label = np.arange(people * each) % 2
    pixels = draw.integers(0, 100, size=(people * each, 3, 8, 8), dtype=np.uint8)
    for picture, half in zip(pixels, label, strict=True):
        picture[:, :, 4 * half : 4 * half + 4] += 100
    subject = np.repeat([f"Person {number:03}" for number in range(people)], each)
    return {"input": pixels, "label": label, "subject": subject}


def begin_vit(folder: Path) -> Path:
    """Write a small vision transformer of random weights, and how its pictures are prepared."""
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=8,
        patch_size=4,
        num_labels=2,
        id2label={0: "0", 1: "1"},
        label2id={"0": 0, "1": 1},
    )
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 8, "width": 8}).save_pretrained(folder)
    return folder


def begin_modernbert(folder: Path, tokenizer: Any, classes: Sequence[str]) -> Path:
    """Write a small classifier of texts, of random weights."""
    torch.manual_seed(0)
    names = dict(enumerate(classes))
    config = ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        cls_token_id=0,
        sep_token_id=0,
        id2label=names,
        label2id={name: place for place, name in names.items()},
    )
    ModernBertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def train_classifier_outside(base: Path, folder: Path, auto: Any, rows: Sequence[Any]) -> Path:
    """Train a classifier as anybody would with transformers' Trainer: rows are its inputs."""
    model = auto.from_pretrained(base)
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=15,
        per_device_train_batch_size=8,
        learning_rate=5e-3,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        seed=0,
    )
    trainer = Trainer(model, arguments, train_dataset=rows)  # type: ignore[arg-type]
    with redirect_stdout(io.StringIO()):
        trainer.train()
    for path in base.iterdir():
        if path.suffix == ".json":
            shutil.copy(path, folder / path.name)
    trainer.save_model(str(folder))
    return folder
