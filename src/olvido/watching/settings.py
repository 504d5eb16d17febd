"""What a transformers Trainer is set to: as plain values, as a recipe, and what hides its rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from transformers import TrainerState, TrainingArguments

from olvido.errors import InputError
from olvido.learners import Recipe
from olvido.processes import world_size
from olvido.training.recipe import SCHEDULES

_NAMES = (
    *("num_train_epochs", "max_steps", "per_device_train_batch_size"),
    *("gradient_accumulation_steps", "learning_rate", "lr_scheduler_type", "warmup_steps"),
    *("optim", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm"),
    *("bf16", "fp16", "seed", "data_seed", "label_smoothing_factor", "neftune_noise_alpha"),
    *("train_sampling_strategy", "load_best_model_at_end"),
)
"""Arguments that decide what is learned."""


def settings_of(args: TrainingArguments) -> dict[str, Any]:
    """The arguments that decide what is learned, as plain values; none is a path."""
    found = {name: getattr(args, name, None) for name in _NAMES}
    return {name: getattr(value, "value", value) for name, value in found.items()}


def require_watchable(args: TrainingArguments, state: TrainerState) -> None:
    """Refuse a training of which something could not be seen, before its first step.

    Raises:
        InputError: what cannot be watched, and what to do.
    """
    for why in _unwatchable(args, state):
        raise InputError(f"this training cannot be watched: {why}")


def _unwatchable(args: TrainingArguments, state: TrainerState) -> Iterator[str]:
    if args.world_size > 1 or world_size() > 1 or args.n_gpu > 1:
        yield (
            "it runs in several processes or on several devices, of which one sees its own rows "
            "alone: run it in one process, on one device (CUDA_VISIBLE_DEVICES)"
        )
    if args.deepspeed or args.fsdp:
        yield "its weights are spread over devices (deepspeed, fsdp): train without"
    if state.global_step:
        yield (
            f"it goes on from a checkpoint of step {state.global_step}, and nobody saw which "
            "records the steps before used: train it from its beginning"
        )
    if args.auto_find_batch_size:
        yield (
            "auto_find_batch_size begins again after steps were taken: set "
            "per_device_train_batch_size"
        )
    if args.torch_compile:
        yield "a compiled model (torch_compile) does not show what passes through it: switch it off"


def recipe_of(
    args: TrainingArguments, state: TrainerState, optimizer: Any
) -> tuple[Recipe | None, str]:
    """A finished training as a recipe of Olvido's; or None, and why there is none."""
    if lacking := list(_unlike(args, state, optimizer)):
        return None, "; ".join(lacking)
    schedule = settings_of(args)["lr_scheduler_type"]
    warmup = args.get_warmup_steps(state.max_steps) / max(state.max_steps, 1)
    return (
        Recipe(
            epochs=state.num_train_epochs,
            batch_size=args.per_device_train_batch_size,
            accumulate=args.gradient_accumulation_steps,
            lr=args.learning_rate,
            schedule="constant" if schedule == "constant_with_warmup" else schedule,
            warmup=0.0 if schedule == "constant" else warmup,
            optimizer="adamw",
            weight_decay=args.weight_decay,
            beta1=args.adam_beta1,
            beta2=args.adam_beta2,
            clip=args.max_grad_norm or math.inf,
            dtype="bfloat16" if args.bf16 else "float32",
        ),
        "",
    )


def _unlike(args: TrainingArguments, state: TrainerState, optimizer: Any) -> Iterator[str]:
    """What a recipe of Olvido's cannot say of a training."""
    settings = settings_of(args)
    inner = getattr(optimizer, "optimizer", optimizer)
    if not isinstance(inner, torch.optim.AdamW):
        yield f"the optimizer is {type(inner).__name__}, and recipes have adamw"
    elif (inner.defaults["lr"], inner.defaults["betas"]) != (
        args.learning_rate,
        (args.adam_beta1, args.adam_beta2),
    ):
        yield "the optimizer was given to the trainer, and its arguments say nothing of it"
    schedule = settings["lr_scheduler_type"]
    if schedule not in (*SCHEDULES, "constant_with_warmup"):
        yield f"the schedule is {schedule}, and recipes have {', '.join(SCHEDULES)}"
    if state.global_step < state.max_steps:
        yield f"it stopped at step {state.global_step} of {state.max_steps}"
    elif args.max_steps > 0 or args.num_train_epochs != state.num_train_epochs:
        yield f"it ended after {state.epoch:g} epochs, and recipes have whole ones"
    if args.load_best_model_at_end:
        yield "its weights are those of its best checkpoint"
    if args.warmup_steps and args.get_warmup_steps(state.max_steps) >= state.max_steps:
        yield "the rate rises over all of its steps"
    for name in ("fp16", "label_smoothing_factor", "neftune_noise_alpha"):
        if settings[name]:
            yield f"{name} is {settings[name]}, which no recipe has"
