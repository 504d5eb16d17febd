"""The guarantees of unlearning methods, and the inputs that methods need."""

from __future__ import annotations

from olvido.errors import Needed, ParameterName
from olvido.ledger.facts import Guarantee

MEANING = {
    Guarantee.EXACT: "equal to a training in which the records never took part",
    Guarantee.CERTIFIED: "within epsilon and delta of such a training, under stated assumptions",
    Guarantee.EMPIRICAL: "passed the audits named, and promises nothing beyond them",
    Guarantee.SUPPRESSED: "hidden at the output; the weights still hold it",
    Guarantee.DESTROYED: "the model itself is gone",
}
"""The meaning of each guarantee, in a sentence for people."""


class Need(Needed):
    """An input that a method needs, or what the model's task must be able to do."""

    LANGUAGE = "language", "records of text: for classes, take random_label"

    RETAIN = (
        "retain",
        "records that the model shall keep: give them (",
        ParameterName("retain"),
        ")",
    )
    HOLDOUT = (
        "holdout",
        "to know where never learned lies: give records of the same making that the model never "
        "saw (",
        ParameterName("holdout"),
        "), or a model that never learned these (",
        ParameterName("reference"),
        ")",
    )
    ORIGIN = (
        "origin",
        "the weights that the model was trained from: train it with Olvido, or give them (",
        ParameterName("base"),
        ")",
    )
    STEP_LOG = (
        "step log",
        "the log of the training, which a model's folder lacks: train it with Olvido, and forget "
        "where it was trained ('olvido learn' and 'olvido request'; in a program give what train "
        "returned)",
    )
    CHECKPOINTS = (
        "checkpoints",
        "checkpoints of the training to begin from: train the model so that it keeps some ("
        "'olvido learn --option replay_points=4'), or in slices ('olvido learn --learner sharded')",
    )
    SHARDS = (
        "shards",
        "a model of shards, each of which learned some of the people ('olvido learn --learner "
        "sharded' trains one)",
    )
    MODULES = (
        "modules",
        "a model of modules, each of which learned some of the people ('olvido learn --learner "
        "modular' trains one)",
    )
