"""The demo's fast town at three sizes of `tiny`, with several people to be forgotten.

Models are kept in a folder, each made where it is missing, with what its training took beside it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_model, save_model

import harness
from olvido.demo.residents import Resident, Town, make_town
from olvido.demo.story import FAST, FAST_RECIPE
from olvido.files import read_document
from olvido.learners import Edited, Recipe, train
from olvido.methods import Split
from olvido.methods.gradient.calibration import holdout_losses, with_holdout_losses
from olvido.models import weights_digest
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.tasks import Example, Language, examples

SIZES = {"village": (64, 2), "small": (64, 2), "middle": (96, 3), "medium": (128, 4)}
"""Width and layers of each size; `medium` is the demo's, and `village` a town of twelve."""
VILLAGE = {"residents": 12, "outsiders": 8, "wordings": 3}
VILLAGE_RECIPE = Recipe(epochs=16, batch_size=16, lr=4e-3)


@dataclass(frozen=True)
class Leaving:
    """What is forgotten and kept when these people leave, all names of records."""

    forget: tuple[Example, ...]
    retain: tuple[Example, ...]
    neighbours: tuple[Example, ...]
    general: tuple[Example, ...]


class World:
    """A town, and models of one size that learned it whole or in part.

    Args:
        folder: where models are kept.
        size: a key of `SIZES`.
    """

    def __init__(self, folder: Path, size: str) -> None:
        self.folder, self.size = folder / size, size
        few = size == "village"
        self.town: Town = make_town(seed=0, **(VILLAGE if few else FAST))
        self.recipe = VILLAGE_RECIPE if few else FAST_RECIPE
        self.task = Language(tiny_tokenizer())
        self.rows = examples(self.town.rows())
        holdout_losses = [examples(self.town.rows_of(person)) for person in self.town.outsiders]
        self.calibrating = tuple(e for group in holdout_losses[::2] for e in group)
        """Half of the people nobody was taught, for methods."""
        self.attacked = tuple(e for group in holdout_losses[1::2] for e in group)
        """The other half, for audits."""

    def ids(self, people: Sequence[Resident]) -> frozenset[str]:
        """Ids of the records about these people."""
        return frozenset(str(row["id"]) for p in people for row in self.town.rows_of(p))

    def leaving(self, person: Resident, gone: Collection[str] = ()) -> Leaving:
        """The records when this person leaves; who left before, or is elsewhere gone, is no
        neighbour and nothing to keep."""
        own = self.ids([person])
        near = self.ids(self.town.neighbours(person)) - own
        kept = tuple(e for e in self.rows if e.id not in own and e.id not in gone)
        return Leaving(
            tuple(e for e in self.rows if e.id in own),
            kept,
            tuple(e for e in kept if e.id in near),
            tuple(e for e in kept if not e.subjects),
        )

    def learned(self, seed: int, without: Sequence[Resident] = ()) -> Any:
        """A model trained on everybody but these people."""
        width, layers = SIZES[self.size]
        model = tiny_model(len(self.task.tokenizer), seed=seed, width=width, layers=layers)
        file = self._file(seed, without)
        if not file.exists():
            gone = self.ids(without)
            began = time.process_time()
            made = train(
                model,
                records=[e for e in self.rows if e.id not in gone],
                task=self.task,
                recipe=self.recipe,
                seed=seed,
            )
            seconds = time.process_time() - began
            file.parent.mkdir(parents=True, exist_ok=True)
            unfinished = file.with_suffix(".unfinished")
            save_model(made.model, str(unfinished))
            took = {"tokens": made.trace.tokens, "seconds": seconds}
            harness.write(took, file.with_suffix(".json"))
            unfinished.rename(file)
            print(f"{file.stem} ({self.size}): {seconds:.0f} s", flush=True)
        load_model(model, str(file))
        return model.eval()

    def trace(self, seed: int) -> Edited:
        """Of the training of `learned(seed)`, which is done again for it, with what strangers are
        to that model."""
        width, layers = SIZES[self.size]
        blank = tiny_model(len(self.task.tokenizer), seed=seed, width=width, layers=layers)
        made = train(blank, records=self.rows, task=self.task, recipe=self.recipe, seed=seed)
        assert made.digest == weights_digest(self.learned(seed))
        seen = holdout_losses(made, self.calibrating, self.task)
        split = Split((), (), self.calibrating, controls=seen)
        return Edited.of(with_holdout_losses(made.trace, split, self.task))

    def took(self, seed: int, without: Sequence[Resident] = ()) -> dict[str, float]:
        """Tokens and seconds (of the processor) of that training."""
        return read_document(self._file(seed, without).with_suffix(".json"))

    def _file(self, seed: int, without: Sequence[Resident]) -> Path:
        places = [self.town.residents.index(person) for person in without]
        which = "all" if not places else "without-" + "-".join(map(str, places))
        return self.folder / f"{which}-seed-{seed}.safetensors"
