"""Methods beside each other: every run, and what the runs of each method come to."""

from __future__ import annotations

from typing import Literal

from olvido.schemas.base import Part, Plain


class OverSeeds(Part):
    """A mean over `n` runs and its 95% interval; None of one run, which tells nothing of others."""

    mean: float
    interval: tuple[float, float] | None
    n: int


class MethodRow(Part):
    """A method, or one of the models that no method made.

    Attributes:
        method: its name.
        runs, passed, unknown: how many there were, and how many audits ended so.
        recall: of the forgotten, above never-trained models.
        loss: of the forgotten, as a share of never-trained models' loss.
        kept, neighbours, general: share still answered of what was to stay.
        seconds, share_of_retraining, peak_memory: what a run takes; bytes.
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
    """What `olvido compare` found.

    Attributes:
        model: digest of the model that was to forget; `never_trained` of those it is held to.
        references, seeds: how many of each; `level` of the audits.
        records: how many of each kind there were.
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
