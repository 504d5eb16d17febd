"""Features from a language model: the input of its head at the end of a prompt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import Module

from olvido.errors import InputError
from olvido.tasks.base import Example
from olvido.tasks.language import Language


@torch.no_grad()
def prompt_features(
    model: Module, records: Sequence[Example], task: Language, *, batch_size: int = 32
) -> NDArray[np.float32]:
    """The last hidden state at the end of each prompt, in the records' order. [n, D]

    The prompt contains what a head is to classify; the completion, where a label may stand, is not
    read, since attention is causal. The features are frozen only if the model is: nobody who may
    ask a head to forget them may have shaped it.

    Args:
        model: a causal language model; it runs in evaluation mode, and is left unchanged.
        records: records with prompts.
        task: turns records into batches.
        batch_size: records a pass.

    Raises:
        InputError: a record without a prompt, or a model whose head cannot be separated from its
        body.
    """
    if bare := [record.id for record in records if not record.prompt]:
        raise InputError(
            f"{len(bare)} records have no prompt (first: {bare[0]!r}): put the text "
            "to be classified into the prompt"
        )
    place = {record.id: i for i, record in enumerate(records)}
    device, training = next(model.parameters()).device, model.training
    found: NDArray[np.float32] | None = None
    model.eval()
    try:
        for batch in task.batches(records, batch_size):
            states, head, _, rows = task.answer_states(model, batch.to(device))
            if head(states) is states:
                raise InputError(
                    f"the head of {type(model).__name__} cannot be separated from its body: "
                    "pass a causal model of transformers"
                )
            # The first target is predicted from the prompt's last position.
            first = torch.searchsorted(rows, torch.arange(len(batch.ids), device=rows.device))
            seen = states[first].float().cpu().numpy()
            if found is None:
                found = np.empty((len(records), seen.shape[1]), np.float32)
            found[[place[i] for i in batch.ids]] = seen
    finally:
        model.train(training)
    if found is None:
        raise InputError("there are no records to make features of: give one or more")
    return found
