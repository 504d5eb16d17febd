"""From runs of learners to rows, remarks, a picture and a page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from olvido.benchmark.table import over_seeds
from olvido.reporting.lines import Line, draw
from olvido.reporting.render import html_of, write_html
from olvido.reporting.words import percent

MEASURES = {
    "general": "exact match on general knowledge, which was learned too",
    "holdout_loss": "loss on the holdout set, in nats a token",
    "extraction": "extraction strength of the records about people: the share of an answer that "
    "the model says by itself after the rest",
    "extraction_holdout": "the same of the holdout set: what the form of the answers gives away",
    "membership": "AUC of the loss attack, these records against the holdout set: 0.5 is chance",
    "exposure": "exposure of the planted canaries among 64 alternatives, in bits: 6 at the most",
    "exposure_absent": "the same of canaries that were not planted: what chance gives",
}
"""What is measured of every model."""

HALF = 0.5
"""A private model with a smaller share of the best other's quality has lost most of it."""
_CHANCE = 1.44
"""Mean exposure in bits of what a model knows nothing of: see `exposure_of`."""


def rows_of(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each learner in the order of its first run; what no learner trained comes last."""
    names = list(dict.fromkeys(cell["learner"] for cell in cells if "seconds" in cell))
    names += [name for cell in cells if (name := cell["learner"]) not in names]
    rows = []
    for name in dict.fromkeys(names):
        some = [cell for cell in cells if cell["learner"] == name]
        found = [cell["measured"] for cell in some if cell["measured"] is not None]
        times = [cell["seconds"] for cell in some if "seconds" in cell]
        rows.append(
            {
                "learner": name,
                "runs": len(some),
                "promise": next((c["promise"] for c in some if c["promise"]), None),
                **{key: over_seeds([m[key] for m in found if m[key] is not None])
                   for key in MEASURES},
                "seconds": over_seeds(times),
                "failures": list(dict.fromkeys(c["failure"] for c in some if c["failure"])),
            }
        )  # fmt: skip
    return rows


def remarks_on(
    rows: Sequence[Mapping[str, Any]], cells: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """What a reader of the rows must know: where quality is gone, and what looking at them cost."""
    best = max((r["general"]["mean"] for r in rows if r["general"]), default=0.0)
    lost = [
        row for row in rows
        if row["promise"] and row["general"] and row["general"]["mean"] < HALF * best
    ]  # fmt: skip
    if lost:
        kept = ", ".join(f"{row['learner']} {percent(row['general']['mean'])}" for row in lost)
        yield (
            f"Quality is gone or nearly so: of general knowledge the best model here keeps "
            f"{percent(best)}, and {kept}. The noise of a step is divided among the units that it "
            f"expects ({_several([row['promise']['batch'] for row in lost], '.4g')} of "
            f"{_several([row['promise']['units'] for row in lost], ',')}), so that so few "
            "cannot outweigh it at this promise and with this recipe: more people help, larger "
            "batches, and a model that public data taught before."
        )
    if not any(row["general"] for row in rows):
        yield (
            "No general knowledge was given, so that quality shows in the loss on the holdout "
            "alone: lower is better."
        )
    spent: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for cell in cells:
        if cell["promise"]:
            spent[cell["promise"]["unit"]].append(cell["promise"])
    for unit, promises in spent.items():
        if len(promises) > 1:
            epsilon, delta = (sum(p[name] for p in promises) for name in ("epsilon", "delta"))
            yield (
                f"This comparison looked at the same records in {len(promises)} private trainings "
                f"(unit {unit}): all of them together, and a choice that is made by their numbers, "
                f"promise epsilon {epsilon:.3g} at delta {delta:.2g}, their sums."
            )
    if spent and any("seconds" in cell and not cell["promise"] for cell in cells):
        yield (
            "Learners without a promise looked at the records too: numbers measured of their "
            "models promise nothing. To choose a recipe without spending, compare on public or "
            "invented records, with as many people."
        )
    if all(row["runs"] == 1 for row in rows):
        yield "One run of each learner: small differences may be chance. More seeds show it."


def _several(values: Sequence[float], form: str) -> str:
    return " or ".join(dict.fromkeys(f"{value:{form}}" for value in values))


def picture(document: Mapping[str, Any]) -> Markup:
    """Quality and what is kept of single people, learner by learner, on one scale from 0 to 1."""
    rows = [row for row in document["rows"] if row["extraction"]]

    def line(
        name: str, key: str, look: int, most: float = 1.0, chance: float | None = None
    ) -> Line:
        found = [row[key] for row in rows]
        return Line(
            name,
            look,
            [None if one is None else one["mean"] / most for one in found],
            [
                None if one is None or one["interval"] is None
                else (one["interval"][0] / most, one["interval"][1] / most)
                for one in found
            ],
            chance,
        )  # fmt: skip

    lines = [
        line("general kept", "general", 0),
        line("extraction", "extraction", 1),
        line("membership AUC", "membership", 2, chance=0.5),
        line("canary exposure, of 6 bits", "exposure", 3, 6.0, chance=_CHANCE / 6),
    ]
    shown = [one for one in lines if any(value is not None for value in one.values)]
    return draw("tradeoff", [row["learner"] for row in rows], shown)


def write_page(document: Mapping[str, Any], path: Path) -> None:
    """Write one self-contained page.

    Raises:
        MissingExtra: the package for charts is not installed.
    """
    shown = {"document": document, "picture": picture(document), "measures": MEASURES}
    write_html(html_of("olvido.benchmark", "learners.html.j2", **shown), path)
