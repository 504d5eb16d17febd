"""Train models for an audit: references, and shadow models for the strongest attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from olvido.errors import InputError, require_count

if TYPE_CHECKING:
    from torch.nn import Module

    from olvido.audits.types import Shadow
    from olvido.cli.output import Stage, Terminal
    from olvido.learners import Recipe
    from olvido.models import Loaded
    from olvido.models.stored import ModelSlot, StoredModel
    from olvido.tasks import Example, Language

REFERENCES, SHADOWS = 3, 8
"""The default numbers of models; shadows are only trained for a thorough audit."""


@dataclass(frozen=True)
class TrainingOptions:
    """The training of the model under audit, to be repeated without the forget set.

    Attributes:
        base: the model that it began with.
        recipe: its recipe.
        keep: the folder of the trained models, which are used again.
        references: the number of references.
        shadows: the number of shadow models for LiRA.
    """

    base: str
    recipe: Recipe
    keep: Path
    references: int
    shadows: int

    def __post_init__(self) -> None:
        require_count("references", self.references, least=0, most=1_000)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for reports."""
        return {
            "base": self.base,
            "recipe": self.recipe.to_dict(),
            "references": self.references,
            "shadows": self.shadows,
        }

    def begun(self, audited: StoredModel, terminal: Terminal) -> Loaded:
        """Load the model that the training began with.

        Raises:
            InputError: the audited model cannot have begun with it.
        """
        first = terminal.load(self.base, seed=1)
        require_alike(first, audited, "--base")
        if _shapes(first.model) != _shapes(audited.module):
            raise InputError(
                f"--base {self.base} has weights of other shapes than {audited.name}, which cannot "
                "have begun with it: give the model that its training began with"
            )
        return first

    def placeholder(self, first: Loaded, task: Language) -> tuple[Shadow, ...]:
        """An untrained shadow in place of later ones, to check whether the audit can be made."""
        from olvido.audits.scoring import ScoredModel
        from olvido.audits.types import Shadow

        nobody = frozenset[str]()
        return (Shadow(ScoredModel(first.model, task), nobody, nobody),) if self.shadows else ()

    def done(
        self,
        first: Loaded,
        task: Language,
        records: dict[str, tuple[Example, ...]],
        terminal: Terminal,
        stage: Stage,
        cache: Path | None,
        slot: ModelSlot,
    ) -> tuple[list[Any], tuple[Shadow, ...]]:
        """References and shadows; those that the folder lacks are trained, and one at a time is
        loaded into the slot.

        Raises:
            InputError: records are missing, or are in both the forget set and the retain set.
        """
        from olvido.audits.attacks.shadows import train_shadows
        from olvido.audits.references import forecast_training, train_references
        from olvido.reporting.words import duration

        forget, retain, holdout = (records[side] for side in ("forget", "retain", "holdout"))
        if self.shadows and not holdout:
            raise InputError(
                "shadows learn half of the forgotten and half of their like that nobody learned: "
                "give those (--holdout), or no shadows (--shadows 0)"
            )
        # Each pair of shadows learns every record of the pool once.
        learned = self.references * len(retain) + self.shadows * len(retain)
        learned += self.shadows * (len(forget) + len(holdout)) // 2
        each = forecast_training(first.model, task, retain, self.recipe) / max(1, len(retain))
        also = f" and {self.shadows} shadows" if self.shadows else ""
        terminal.say(
            f"Training {self.references} never-trained models{also} takes about "
            f"{duration(each * learned)} at the most; what lies in {self.keep} already is not "
            "trained again."
        )

        def watcher(what: str) -> Any:
            stage(f"Training {what}")
            return lambda done, of: stage(f"Trained {what}: {done} of {of}") and None

        references: list[Any] = []
        if self.references:
            # A model that begins untrained has other weights for each seed.
            others = (terminal.load(self.base, seed=seed) for seed in range(2, self.references + 1))
            digest = first.digest
            references = train_references(
                [first.model, *(first.model if o.digest == digest else o.model for o in others)],
                retain=retain,
                forget=forget,
                task=task,
                recipe=self.recipe,
                folder=self.keep,
                cache=cache,
                slot=slot,
                watch=watcher("never-trained models"),
            )
        if not self.shadows:
            return references, ()
        return references, train_shadows(
            first.model,
            pool=(*forget, *holdout),
            always=retain,
            task=task,
            recipe=self.recipe,
            count=self.shadows,
            folder=self.keep,
            slot=slot,
            watch=watcher("shadows"),
        )


def require_alike(other: Loaded | StoredModel, audited: StoredModel, option: str) -> None:
    """Refuse a model with another tokenizer than the model under audit.

    Raises:
        InputError: its tokenizer is another.
    """
    theirs, own = (one.tokenizer for one in (other, audited))
    assert theirs is not None
    assert own is not None
    if theirs.get_vocab() != own.get_vocab():
        raise InputError(
            f"{option} {other.name} has another tokenizer than {audited.name}, so that what they "
            "say cannot be compared: give a model made from the same base"
        )


def _shapes(model: Module) -> Sequence[tuple[int, ...]]:
    return sorted(tuple(p.shape) for p in model.parameters())
