"""The door `compare()`: methods times seeds, each cell once, and what they come to."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from olvido.audits.types import Level
from olvido.comparison.cell import NEVER, ORIGINAL, Order
from olvido.comparison.page import picture, write_page
from olvido.comparison.table import rows_of
from olvido.documents import read_document, write_document
from olvido.errors import InputError, MissingNeed, Parameter, require_count
from olvido.files import write
from olvido.forgetting import Need, kind_of, make_method, read_split
from olvido.learners import RECIPES, Recipe, StepLog, Watcher, train
from olvido.models import Loaded, load, save
from olvido.schemas.comparison import ComparisonDocument, MethodRow
from olvido.tasks import Example, Language, examples
from olvido.tasks.base import Row
from olvido.tasks.people import halves

Stage = Callable[[str], Watcher | None]
DEFAULT = ("npo", "graddiff", "simnpo", "auto")
FIRST_SEED = 1000
"""Of never-trained models made here: far from the seeds that trainings usually have."""


@dataclass(frozen=True)
class Comparison:
    """What was found.

    Attributes:
        document: everything, as plain values; also `comparison.json` in the folder.
        page: the page for people; `picture`: its plane alone, as SVG.
    """

    document: dict[str, Any]
    page: Path
    picture: Path


def compare(
    model: str | Path,
    *,
    forget: Iterable[Row | Example],
    retain: Iterable[Row | Example],
    out: Path,
    holdout: Iterable[Row | Example] = (),
    neighbours: Iterable[Row | Example] = (),
    general: Iterable[Row | Example] = (),
    reference: Sequence[str | Path] = (),
    base: str | Path | None = None,
    references: int = 3,
    recipe: Recipe | None = None,
    methods: Sequence[str] = DEFAULT,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    seeds: int = 3,
    level: str = "quick",
    chat: bool | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    stage: Stage = lambda _: None,
) -> Comparison:
    """Run methods on several seeds, audit each result, and put them beside each other.

    Every cell runs in a process of its own and is written when it is done; a comparison that was
    cut off goes on where it was. No record is written down.

    Args:
        model: a folder or hub id of the model that shall forget.
        forget, retain, holdout, neighbours, general: as for `olvido.forget` and `olvido.audit`;
            methods stop by half of the people in the holdout and the audit attacks with the others.
        out: a folder for cells and results; a new one, or one where this comparison was begun.
        reference: folders or hub ids of models that never saw what is to be forgotten.
        base: where there are none, what the model was trained from: as many as `references` says
            are trained from it on everything but the forgotten, by the `recipe` (the base's own).
        methods: names; `options` of each by its name.
        seeds: runs of each method.
        level: of the audits.
        chat: use the tokenizer's chat template; None: where there is one.
        dtype: of the weights; `device`: where they lie.
        stage: told what begins.

    Raises:
        InputError: records that cannot be read, a method that needs the log of a training, a folder
            that holds something else.
        MissingNeed: neither a reference nor a base, or a method lacks what it needs.
        UnknownName: no such method, option, model or level.
    """
    split = read_split(forget, retain, holdout)
    Level.named(level)
    _check(methods, options or {}, seeds, split)
    if bool(reference) == (base is not None):
        raise MissingNeed(
            "a comparison needs models that never saw the forgotten: give either some (",
            Parameter("reference"),
            "), or what the model was trained from (",
            Parameter("base"),
            ")",
        )
    require_count(Parameter("references"), references, most=1_000)
    calibrating, attacked = halves(split.holdout)
    records = {
        "forget": split.forget,
        "retain": split.retain,
        "calibrating": calibrating,
        "attacked": attacked,
        "neighbours": examples(neighbours, "neighbours"),
        "general": examples(general, "general"),
    }
    read = partial(load, dtype=dtype, device=device)
    loaded = read(model)
    task = Language(loaded.tokenizer, chat=chat)
    plan: dict[str, Any] = {
        "model": loaded.digest,
        "records": {name: _digest(some, task) for name, some in records.items()},
        "reference": [read(other).digest for other in reference],
        "base": None if base is None else [read(base).digest, references, _told(base, recipe)],
        "level": level,
        "chat": chat,
        "device": device,
    }
    if loaded.digest in plan["reference"]:
        raise InputError(
            "a reference has the very weights of the model that shall forget: give models that "
            "were trained without the forgotten"
        )
    _begin(out, plan)
    never, training = [str(other) for other in reference], None
    if base is not None:
        never, training = _trained(out, base, read, recipe, references, records, chat, stage)
    cells = []
    with tempfile.TemporaryDirectory(prefix="olvido-compare-") as scores:
        wanted = list(_wanted(methods, seeds, len(never)))
        for number, (method, seed) in enumerate(wanted, 1):
            file = _file(out, method, seed, (options or {}).get(method, {}))
            stage(f"{method}, {number} of {len(wanted)}")
            order = Order(
                str(model),
                tuple(never),
                records,
                method,
                dict((options or {}).get(method, {})),
                seed,
                level,
                chat,
                dtype,
                device,
                scores,
                str(file),
            )
            cells.append(read_document(file) if file.exists() else _carried_out(order))
    document = ComparisonDocument(
        model=loaded.digest,
        never_trained=tuple(read(name).digest for name in never),
        references=len(never),
        level=level,
        seeds=seeds,
        records={name: len(some) for name, some in records.items()},
        rows=tuple(MethodRow(**row) for row in rows_of(cells, training)),
        cells=tuple(cells),
    ).to_dict()
    write_document(document, out / "comparison.json")
    drawn = picture(document)
    if drawn is not None:
        write(out / "plane.svg", str(drawn))
    write_page(document, out / "index.html")
    return Comparison(document, out / "index.html", out / "plane.svg")


def _check(
    methods: Sequence[str], options: Mapping[str, Mapping[str, Any]], seeds: int, split: Any
) -> None:
    require_count(Parameter("seeds"), seeds, most=1_000)
    if not methods or len(set(methods)) < len(methods):
        raise InputError(f"give one or more methods, each once, got {list(methods)}")
    for name in options:
        if name not in methods:
            raise InputError(f"options of {name} were given, and it is not among the methods")
    have = {Need.RETAIN: bool(split.retain), Need.HOLDOUT: bool(split.holdout)}
    for name in methods:
        make_method(name, options.get(name, {}))
        for need in sorted(kind_of(name).needs):
            if need not in have:
                raise InputError(
                    f"{name} cannot be compared on a model alone, since it needs ", *need.words
                )
            if not have[need] and need is Need.HOLDOUT:
                # A reference has no part in the forgetting here: it is what that is compared with.
                raise MissingNeed(
                    f"{name} needs to know where never learned lies: give records of the same "
                    "making that the model never saw (",
                    Parameter("holdout"),
                    "). The references of a comparison are for its audits alone",
                )
            if not have[need]:
                raise MissingNeed(f"{name} needs ", *need.words)


def _begin(out: Path, plan: Mapping[str, Any]) -> None:
    """Enter what is compared; a folder of another comparison is left as it is."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is no folder: name a new one for the comparison")
    file = out / "plan.json"
    if file.exists():
        if read_document(file) != json.loads(json.dumps(plan)):
            raise InputError(
                f"{out} holds another comparison (its model, records, references or level are "
                "others): name a new folder"
            )
        return
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} holds something else: name a new folder for the comparison")
    write_document(plan, file)


def _wanted(methods: Sequence[str], seeds: int, never: int) -> Iterator[tuple[str, int]]:
    """The cells in their order: all methods once before any twice."""
    yield ORIGINAL, 0
    # One never-trained model has no other to be audited against.
    if never > 1:
        yield from ((NEVER, number) for number in range(never))
    yield from ((method, seed) for seed in range(seeds) for method in methods)


def _carried_out(order: Order) -> dict[str, Any]:
    """A cell, done now. One whose process was ended is told and not kept, so that it is tried
    again."""
    done = subprocess.run(
        [sys.executable, "-m", "olvido.comparison.cell"],
        input=order.to_json(),
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode == 0:
        return read_document(Path(order.out))
    last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
    failure = f"its process ended with status {done.returncode} ({last})"
    made = {"method": order.method, "seed": order.seed, "verdict": "fail"}
    return made | {"failure": failure, "audit": None}


def _trained(
    out: Path,
    base: str | Path,
    read: Callable[..., Loaded],
    recipe: Recipe | None,
    count: int,
    records: Mapping[str, tuple[Example, ...]],
    chat: bool | None,
    stage: Stage,
) -> tuple[list[str], float]:
    """Never-trained models, those that are there already used; and the tokens one took."""
    kept = {e.id: e for name in ("retain", "neighbours", "general") for e in records[name]}
    names, tokens = [], 0.0
    for number in range(count):
        folder = out / "never" / str(number + 1)
        if not folder.exists():
            start = read(base, seed=FIRST_SEED + number)
            made = train(
                start.model,
                records=tuple(kept.values()),
                task=Language(start.tokenizer, chat=chat),
                recipe=recipe or RECIPES.get(str(base), Recipe()),
                seed=FIRST_SEED + number,
                watch=stage(f"Training a model that never saw them ({number + 1} of {count})"),
            )
            assert isinstance(made.trace, StepLog)
            took = {"tokens": made.trace.tokens, "seconds": made.trace.seconds}
            write_document(took, out / "never" / f"{number + 1}.json")
            save(made.model, start.tokenizer, folder)
        tokens = float(read_document(out / "never" / f"{number + 1}.json")["tokens"])
        names.append(str(folder))
    return names, tokens


def _file(out: Path, method: str, seed: int, options: Mapping[str, Any]) -> Path:
    told = "" if not options else json.dumps(dict(options), sort_keys=True, default=str)
    mark = f"-{hashlib.sha256(told.encode()).hexdigest()[:8]}" if told else ""
    return out / "cells" / f"{method.replace(' ', '-')}{mark}-{seed}.json"


def _told(base: str | Path, recipe: Recipe | None) -> dict[str, Any]:
    return dict((recipe or RECIPES.get(str(base), Recipe())).to_dict())


def _digest(records: Sequence[Example], task: Language) -> str:
    whole = hashlib.sha256()
    for record in records:
        whole.update(hashlib.sha256(record.id.encode()).digest())
        whole.update(hashlib.sha256(task.content(record)).digest())
    return whole.hexdigest()
