"""A comparison of methods or of learners: every run, and the summary of each one's runs."""

from __future__ import annotations

from typing import Literal

from olvido.schemas.base import Part, Plain


class OverSeeds(Part):
    """A mean over `n` runs and its 95% interval; None for one run, which has no spread."""

    mean: float
    interval: tuple[float, float] | None
    n: int


class MethodRow(Part):
    """A method, or one of the models that no method made.

    Attributes:
        method: its name.
        runs, passed, unknown: number of runs, and of audits with these verdicts.
        recall: on the forget set, above never-trained models.
        loss: on the forget set, as a share of never-trained models' loss.
        kept, neighbours, general: share of retained knowledge that is still answered.
        seconds, share_of_retraining, peak_memory: cost of a run; bytes.
        metrics: further audits' findings, by the name of their column.
        failed: audits that failed in any run; `failures`: why runs ended without a model.
    """

    method: str
    runs: int
    passed: int
    unknown: int
    recall: OverSeeds | None
    loss: OverSeeds | None
    kept: OverSeeds | None
    neighbours: OverSeeds | None
    general: OverSeeds | None
    seconds: OverSeeds | None
    share_of_retraining: OverSeeds | None
    peak_memory: int | None
    metrics: dict[str, OverSeeds | None]
    failed: tuple[str, ...]
    failures: tuple[str, ...]


class ComparisonDocument(Part):
    """The result of `olvido compare`.

    Attributes:
        model: digest of the original model; `never_trained` of its references.
        references, seeds: their numbers; `level` of the audits.
        records: number of records of each kind.
        metrics: names of further audits.
        rows: a row for each method; `cells`: every run, with its audit.
    """

    type: Literal["comparison"] = "comparison"
    version: Literal[1] = 1
    model: str
    never_trained: tuple[str, ...]
    references: int
    level: str
    seeds: int
    records: dict[str, int]
    metrics: tuple[str, ...]
    rows: tuple[MethodRow, ...]
    cells: tuple[Plain, ...]


class LearnerRow(Part):
    """A learner, or the model that every training begins with.

    Attributes:
        learner: its name; `runs`: how many there were.
        promise: what a private training promises, as its trace has it.
        general, holdout_loss: what the models can do.
        extraction, membership, exposure: what they keep of single people.
        extraction_holdout, exposure_absent: the same of records that were not learned.
        seconds: of a training.
        failures: why trainings ended without a model.
    """

    learner: str
    runs: int
    promise: Plain | None
    general: OverSeeds | None
    holdout_loss: OverSeeds | None
    extraction: OverSeeds | None
    extraction_holdout: OverSeeds | None
    membership: OverSeeds | None
    exposure: OverSeeds | None
    exposure_absent: OverSeeds | None
    seconds: OverSeeds | None
    failures: tuple[str, ...]


class LearnersDocument(Part):
    """The result of `olvido compare --learners`.

    Attributes:
        plan: digests of model and records, and the recipe: what a continued comparison must share.
        seeds: runs of each learner; `records`: number of records of each kind, and of canaries.
        rows: a row for each learner; `cells`: every run.
        remarks: what is to be read with the rows.
    """

    type: Literal["learners"] = "learners"
    version: Literal[1] = 1
    plan: Plain
    seeds: int
    records: dict[str, int]
    rows: tuple[LearnerRow, ...]
    remarks: tuple[str, ...]
    cells: tuple[Plain, ...]
