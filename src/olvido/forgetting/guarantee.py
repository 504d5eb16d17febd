"""What a forgetting may claim, and what a method must be given."""

from __future__ import annotations

from enum import StrEnum

from olvido.ledger.facts import Guarantee

MEANING = {
    Guarantee.EXACT: "equal to a training in which the records never took part",
    Guarantee.CERTIFIED: "within epsilon and delta of such a training, under stated assumptions",
    Guarantee.EMPIRICAL: "passed the audits named, and promises nothing beyond them",
    Guarantee.SUPPRESSED: "hidden at the output; the weights still hold it",
    Guarantee.DESTROYED: "the model itself is gone",
}
"""What each guarantee says, in a sentence for people."""


class Need(StrEnum):
    """What a method must be given."""

    RETAIN = "retain"
    HOLDOUT = "holdout"
    STEP_LOG = "step log"
    CHECKPOINTS = "checkpoints"
    SHARDS = "shards"
    MODULES = "modules"

    @property
    def remedy(self) -> str:
        """How a caller provides it."""
        return _REMEDY[self]


_REMEDY = {
    Need.RETAIN: "records that the model shall keep: pass retain=[...]",
    Need.HOLDOUT: "to know where never learned lies: pass records of the same making that the "
    "model never saw (holdout=[...]), or a model that never learned these (reference=...)",
    Need.STEP_LOG: "the log of the training: train the model with olvido.train() or "
    "`olvido learn`, and pass what it returned",
    Need.CHECKPOINTS: "checkpoints of the training to begin from: train the model with "
    "replay_points, or in slices (learner 'sharded')",
    Need.SHARDS: "a model of shards: train it with the learner 'sharded'",
    Need.MODULES: "a model of modules: train it with the learner 'modular'",
}
