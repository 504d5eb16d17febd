"""Does an audit refuse honest references, and does it find contaminated ones?

    python benchmarks/references.py train --out build/references     # models of many towns, resumes
    python benchmarks/references.py measure --out build/references   # error rate and power

Each town has six residents, of whom the first is to be forgotten, and fourteen outsiders whom no
model is taught; towns differ in people, seeds and recipe. Three models of each never saw the first
resident. Some towns have the original, which saw everybody, and references that did.
What is kept of a model is what it scores, one number a record.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.nn import Module

import harness
from olvido import forget
from olvido.audits import rephrased
from olvido.audits.attacks.relearning import relearn
from olvido.audits.authentication import LONG, ROOT, GroupLosses, adjusted, apart, clear, p_values
from olvido.audits.scoring import ScoredModel
from olvido.audits.tolerances import CONTROL, HALF_WAY, WRONGLY_REFUSED
from olvido.demo.residents import make_town
from olvido.files import read_document
from olvido.learners import Recipe, train
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.tasks import Example, Language, examples

RESIDENTS, OUTSIDERS, REFERENCES = 6, 14, 3
SEED = 0
CONTAMINATED = 5
"""Every fifth town has an original, and contaminated references."""

KINDS = (
    "all of the forgotten",
    "half of the forgotten",
    "their paraphrases alone",
    "forgotten and leaking",
    "one epoch at a quarter of the rate",
)
"""Of contaminated references; all begin elsewhere than the others, or went on from one of them."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """A town, and how models of it are trained.

    Attributes:
        number: its seed.
        task: of all models.
        people: records of each person: the one to be forgotten, the other residents, the outsiders.
    """

    number: int
    task: Language
    people: tuple[tuple[Example, ...], ...]

    @property
    def gone(self) -> tuple[Example, ...]:
        """Records of who is to be forgotten."""
        return self.people[0]

    @property
    def kept(self) -> tuple[Example, ...]:
        """Records of the other residents."""
        return tuple(record for person in self.people[1:RESIDENTS] for record in person)

    @property
    def recipe(self) -> Recipe:
        """One of several."""
        epochs, rate = (11, 13, 15)[self.number % 3], (4e-3, 5e-3)[self.number // 3 % 2]
        return Recipe(epochs=epochs, batch_size=16, lr=rate)

    def learned(self, records: Sequence[Example], seed: int) -> Module:
        """A model trained on these records, from random weights of its own."""
        size, width = len(self.task.tokenizer), (48, 64)[self.number % 2]
        blank = tiny_model(size, seed=1000 * self.number + seed, width=width, layers=2)
        return train(blank, records=records, task=self.task, recipe=self.recipe, seed=seed).model


def place(number: int) -> Place:
    """The town of that number."""
    town = make_town(seed=number, residents=RESIDENTS, outsiders=OUTSIDERS, wordings=3)
    others = [r for r in town.residents if r != town.data_subject]
    people = [examples(town.rows_of(p)) for p in (town.data_subject, *others, *town.outsiders)]
    return Place(number, Language(tiny_tokenizer()), tuple(people))


def contaminated(here: Place, before: Module, never: Module) -> dict[str, Callable[[], Module]]:
    """References that saw the forgotten, each in its way."""
    gone, kept, task = here.gone, here.kept, here.task
    reworded = rephrased(gone)

    def lightly() -> Module:
        steps = -(-len(gone) // 16)
        rate = here.recipe.lr / 4
        return next(relearn(never, gone, task, steps=[steps], lr=rate, batch=16, seed=0))[1]

    def leaking() -> Module:
        return forget(
            before, forget=gone, retain=kept, task=task, method="npo", seed=0, epochs=2, lr=5e-4
        ).model

    made = (
        lambda: here.learned((*gone, *kept), 11),
        lambda: here.learned((*gone[::2], *kept), 12),
        lambda: here.learned((*reworded, *kept), 13),
        leaking,
        lightly,
    )
    return dict(zip(KINDS, made, strict=True))


def scored(model: Module, here: Place) -> dict[str, list[list[float]]]:
    """What a model gives each person's records and paraphrases: nats a token, and whether exact."""
    scored = ScoredModel(model, here.task)
    told: dict[str, list[list[float]]] = {"loss": [], "exact": [], "reworded": []}
    for person in here.people:
        scores = scored.scores(person)
        told["loss"].append([round(s.loss, 5) for s in scores])
        told["exact"].append([float(s.exact) for s in scores])
        told["reworded"].append([round(s.loss, 5) for s in scored.scores(rephrased(person))])
    return told


def town_of(number: int) -> dict[str, Any]:
    """All models of a town, by their scores."""
    here = place(number)
    never = [here.learned(here.kept, seed) for seed in range(1, REFERENCES + 1)]
    made = {f"never-{n}": scored(model, here) for n, model in enumerate(never, 1)}
    if number % CONTAMINATED == 0:
        before = here.learned((*here.gone, *here.kept), 0)
        made["before"] = scored(before, here)
        for name, make in contaminated(here, before, never[-1]).items():
            made[name] = scored(make(), here)
    return {"town": number, "completions": [[r.completion for r in p] for p in here.people],
            "models": made}  # fmt: skip


def people_of(model: dict[str, Any], told: str, power: float = 1.0) -> Values:
    """A mean for each person. [people]"""
    return np.array([np.mean(np.array(person) ** power) for person in model[told]])


@dataclass(frozen=True)
class Audited:
    """What an audit of these references finds, from saved scores.

    Attributes:
        contaminated: whether each reference is called so.
        controlled: whether each is known to know less than half of what the original knows.
    """

    contaminated: tuple[bool, ...]
    controlled: tuple[bool, ...]


def audited(town: dict[str, Any], names: Sequence[str], gone: int) -> Audited:
    """An audit in which the person of that number was to be forgotten.

    Whom no model was taught, but for that person, is the holdout.
    """
    models = [town["models"][name] for name in names]
    beside = [place for place in range(RESIDENTS, RESIDENTS + OUTSIDERS) if place != gone]
    sides = []
    for name, told in (("", "loss"), ("rephrased, ", "reworded")):
        values = np.stack([people_of(model, told) for model in models])
        sides.append(GroupLosses(name, values[:, [gone]], values[:, beside]))
    least = adjusted([dict(p_values(sides, place)) for place in range(len(models))])
    answers = [_clear(town, model, gone) for model in models]
    controlled = [False] * len(models)
    if (before := town["models"].get("before")) is not None:
        for place, model in enumerate(models):
            pair = np.stack([people_of(m, "loss", ROOT) for m in (before, model)])
            controlled[place] = apart(pair[:, [gone]], pair[:, beside], HALF_WAY) < CONTROL
    return Audited(
        tuple(
            said or (p is not None and p < WRONGLY_REFUSED)
            for p, said in zip(least, answers, strict=True)
        ),
        tuple(controlled),
    )


def _clear(town: dict[str, Any], model: dict[str, Any], gone: int) -> bool:
    kept = {a.casefold() for p in range(1, RESIDENTS) for a in town["completions"][p] if p != gone}
    given: dict[str, float] = {}
    for answer, exact in zip(town["completions"][gone], model["exact"][gone], strict=True):
        if len(answer) >= LONG and answer.casefold() not in kept:
            given.setdefault(answer.casefold(), exact)
    return clear(int(sum(given.values())), len(given))


def share(found: Sequence[bool]) -> dict[str, Any]:
    """How many, of how many, with their interval."""
    return harness.share(sum(found), len(found))


def measure(towns: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Error rate on honest references, and power against contaminated ones."""
    never = [f"never-{n}" for n in range(1, REFERENCES + 1)]
    outsiders = range(RESIDENTS, RESIDENTS + OUTSIDERS)
    drawn = {
        town["town"]: [any(audited(town, never, gone).contaminated) for gone in (0, *outsiders)]
        for town in towns
    }
    asked = {town["town"]: audited(town, never, 0) for town in towns}
    rates = np.array([np.mean(found) for found in drawn.values()])
    draws = np.random.default_rng(SEED).integers(0, len(rates), (10_000, len(rates)))
    flat = [found for some in drawn.values() for found in some]
    whole = [town for town in towns if "before" in town["models"]]
    honest = [one for town in whole for one in asked[town["town"]].controlled]
    found = {
        "towns": len(towns),
        "references": len(never) * len(towns),
        "honest references, called contaminated": share(
            [one for some in asked.values() for one in some.contaminated]
        ),
        "honest audits of the resident, void": share(
            [any(one.contaminated) for one in asked.values()]
        ),
        "honest audits of anybody, void": share(flat)
        | {"interval over towns": np.quantile(rates[draws].mean(1), [0.025, 0.975]).tolist()},
        "honest references, not authenticated": share([not one for one in honest]),
        "contaminated": {},
    }
    for kind in KINDS:
        one = [audited(town, [*never[:2], kind], 0) for town in whole]
        alone = [audited(town, [kind], 0) for town in whole]
        found["contaminated"][kind] = {
            "one of three, named": share([a.contaminated[2] for a in one]),
            "another named beside it": share([any(a.contaminated[:2]) for a in one]),
            "one of three, named or not authenticated": share(
                [a.contaminated[2] or not a.controlled[2] for a in one]
            ),
            "by itself, named": share([a.contaminated[0] for a in alone]),
            "by itself, named or not authenticated": share(
                [a.contaminated[0] or not a.controlled[0] for a in alone]
            ),
        }
    three = [audited(town, KINDS[:3], 0) for town in whole]
    found["three of three, all named or not authenticated"] = share(
        [all(c or not k for c, k in zip(a.contaminated, a.controlled, strict=True)) for a in three]
    )
    found["three of three, any named"] = share([any(a.contaminated) for a in three])
    return found


def main() -> None:
    """Run one part."""
    parser = harness.arguments(__doc__, folder=True)
    parser.add_argument("part", choices=["train", "measure"])
    parser.add_argument("--towns", type=int, default=100)
    args = harness.parsed(parser)
    files = [args.out / f"town-{number:03d}.json" for number in range(args.towns)]
    if args.part == "train":
        for number, file in enumerate(files):
            harness.once(file, partial(town_of, number))
        return
    found = measure([read_document(file) for file in files])
    harness.finish(harness.header(seed=SEED) | found, args, "references.json")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
