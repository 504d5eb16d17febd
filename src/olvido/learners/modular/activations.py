"""What frozen lower layers make of the records: computed once, kept, and deleted one by one.

The cache holds personal data and belongs to the closure of a request: a module trained again
without somebody writes its cache again without them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from olvido.errors import StateError
from olvido.files import new_file
from olvido.learners.modular.halves import Halves
from olvido.learners.runs.execute import digests_of
from olvido.tasks import Example, Language


class Activations:
    """States by record id, each [T, D], with a digest of the record they were made from.

    Args:
        origin: digest of the model they came from.
        layer: how many of its layers they passed.
        states: by record id.
        contents: of each record's id and content, in hexadecimal.
    """

    def __init__(
        self, origin: str, layer: int, states: Mapping[str, Tensor], contents: Mapping[str, str]
    ) -> None:
        self.origin, self.layer = origin, layer
        self.states, self.contents = dict(states), dict(contents)

    @classmethod
    def of(
        cls,
        halves: Halves,
        origin: str,
        records: Sequence[Example],
        task: Language,
        known: Activations | None = None,
    ) -> Activations:
        """The states of these records and of no others.

        One record at a time, unpadded: in a batch, a record's bits would depend on its neighbours.

        Args:
            halves: of the model.
            origin: its digest.
            records: each of which gets its states.
            task: how a record becomes tokens.
            known: states that need not be computed again, where they are of the same record.
        """
        contents = {i: digest.hex() for i, digest in digests_of(records, task).items()}
        reused = {}
        if known is not None and (known.origin, known.layer) == (origin, halves.shift):
            reused = {i: s for i, s in known.states.items() if known.contents[i] == contents.get(i)}
        device = next(halves.model.parameters()).device
        states = {}
        for record in records:
            if record.id in reused:
                states[record.id] = reused[record.id]
            else:
                prompt, answer = task.encode(record)
                ids = torch.tensor(prompt + answer, device=device)
                states[record.id] = halves.states(ids).cpu().clone()
        return cls(origin, halves.shift, states, contents)

    def without(self, ids: Collection[str]) -> Activations:
        """The same without these records."""
        states = {i: state for i, state in self.states.items() if i not in ids}
        return Activations(self.origin, self.layer, states, self.contents)

    @property
    def digest(self) -> str:
        """SHA-256 of everything in it."""
        total = hashlib.sha256(f"{self.origin}|{self.layer}".encode())
        for i in sorted(self.states):
            state = self.states[i].contiguous()
            total.update(f"{i}|{self.contents[i]}|{state.dtype}|{tuple(state.shape)}|".encode())
            total.update(state.reshape(-1).view(torch.uint8).numpy().tobytes())
        return total.hexdigest()

    def save(self, path: Path) -> None:
        """Write them, durably."""
        numbered = sorted(self.states)
        about = {
            "origin": self.origin,
            "layer": str(self.layer),
            "digest": self.digest,
            "ids": json.dumps(numbered),
            "contents": json.dumps([self.contents[i] for i in numbered]),
        }
        tensors = {f"{n}": self.states[i].contiguous() for n, i in enumerate(numbered)}
        with new_file(path) as unfinished:
            save_file(tensors, unfinished, metadata=about)

    @classmethod
    def load(cls, path: Path) -> Activations:
        """What `save` wrote.

        Raises:
            StateError: it cannot be read, or is not what was written.
        """
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata()
                ids, contents = json.loads(about["ids"]), json.loads(about["contents"])
                states = {i: file.get_tensor(f"{n}") for n, i in enumerate(ids)}
            found = cls(
                about["origin"],
                int(about["layer"]),
                states,
                dict(zip(ids, contents, strict=True)),
            )
            expected = about["digest"]
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise StateError(f"the activations {path} cannot be read ({error})") from error
        if found.digest != expected:
            raise StateError(f"the activations {path} do not match their digest")
        return found
