"""The entry point `compare()`: methods times seeds, each cell once, and their summary."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
from torch.nn import Module

from olvido.audits.types import AUDITS, Audit, Level
from olvido.benchmark.cell import NEVER, ORIGINAL, CellSpec
from olvido.benchmark.export import Tables
from olvido.benchmark.table import picture, rows_of, write_page
from olvido.benchmark.ways import ComparedMethod, begins_at_base, mark_of, require_needs, ways_of
from olvido.data.benchmarks import load_benchmark
from olvido.errors import InputError, MissingExtra, MissingNeed, ParameterName, require_count
from olvido.files import read_document, write, write_document
from olvido.learners import RECIPES, Recipe, Trained, Watcher, train
from olvido.methods import Method, read_split
from olvido.models import Loaded, load, save
from olvido.registry import name_of
from olvido.schemas.comparison import ComparisonDocument, MethodRow
from olvido.tasks import Example, Language, examples
from olvido.tasks.base import Row
from olvido.tasks.sampling import halves

Stage = Callable[[str], Watcher | None]
Model = str | Path | Module | Trained
"""A model by its folder or hub id, or in memory."""
DEFAULT = ("npo", "graddiff", "simnpo", "auto")
FIRST_SEED = 1000
"""First seed of never-trained models made here: far from usual seeds of trainings."""


@dataclass(frozen=True)
class Comparison(Tables):
    """The result of a comparison, also as tables: see `Tables`.

    Attributes:
        document: the full result, as plain values; also `comparison.json` in the folder.
        page: the HTML page.
        picture: its chart alone, as SVG. Both are None without the extra `report`.
    """

    document: dict[str, Any]
    page: Path | None
    picture: Path | None

    @classmethod
    def load(cls, folder: Path | str) -> Comparison:
        """Read the comparison in a folder.

        Raises:
            InputError: there is none.
        """
        out = Path(folder)
        document = read_document(out / "comparison.json")
        page, plane = out / "index.html", out / "plane.svg"
        return cls(document, page if page.exists() else None, plane if plane.exists() else None)


def compare(
    model: Model,
    *,
    forget: Iterable[Row | Example] = (),
    retain: Iterable[Row | Example] = (),
    out: Path | str,
    benchmark: str | None = None,
    benchmark_data: str | Path | None = None,
    tokenizer: Any | None = None,
    holdout: Iterable[Row | Example] = (),
    neighbours: Iterable[Row | Example] = (),
    general: Iterable[Row | Example] = (),
    reference: Sequence[Model] = (),
    base: str | Path | None = None,
    references: int = 3,
    recipe: Recipe | None = None,
    methods: Sequence[str | type[Method] | Method] = DEFAULT,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    metrics: Sequence[str | type[Audit] | Audit] = (),
    seeds: int = 3,
    level: str = "quick",
    chat: bool | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    stage: Stage = lambda _: None,
) -> Comparison:
    """Run methods on several seeds, audit each result, and compare them.

    Every cell runs in a process of its own and is written when it is done; an interrupted
    comparison continues. No record is written down.

    Args:
        model: the original model: a folder, a hub id, a module, or a result of `train`.
        forget, retain, holdout, neighbours, general: as for `olvido.forget` and `olvido.audit`;
            methods calibrate on half of the people in the holdout and the audit attacks with the
            others.
        out: a folder for cells and results; a new one, or one where this comparison was begun.
        benchmark: a split by name in place of the records, as `tofu:forget05`; see
            `olvido.data.benchmarks`.
        benchmark_data: the folder, file or hub id of its data.
        tokenizer: tokenizer of models that are modules.
        reference: models that never saw the forget set.
        base: without a reference, the model that the original was trained from: `references` models
            are trained from it without the forget set, by the `recipe` (the base's own).
        methods: names, classes or objects; two objects of one class are two rows. After changing a
            method's code, use a new folder.
        options: options of each named method, by its name.
        metrics: further audits, one's own or of installed packages: names, classes or objects. The
            mean of each of their findings is a column of the table; see `olvido.audits.Metric`.
        seeds: runs of each method.
        level: of the audits.
        chat: use the tokenizer's chat template; None: where there is one.
        dtype: type of the weights; `device`: their device.
        stage: called with the name of each stage.

    Raises:
        InputError: records that cannot be read, a method that needs the log of a training, a folder
            with something else.
        MissingNeed: neither a reference nor a base, or a method lacks an input.
        UnknownName: no such method, option, model or level.
    """
    out = Path(out)
    if benchmark is not None:
        if any(map(tuple, (forget, retain, neighbours, general))):
            raise InputError(
                f"the benchmark {benchmark} brings its records (forget, retain, general): give "
                "either it or records"
            )
        found = load_benchmark(benchmark, benchmark_data)
        forget, retain, general = found.forget, found.retain, found.general
    split = read_split(forget, retain, holdout)
    Level.named(level)
    audits = [AUDITS.make(one) for one in metrics]
    ways = ways_of(methods, options or {}, audits)
    require_count(ParameterName("seeds"), seeds, most=1_000)
    require_needs(ways, split, base=base is not None)
    if bool(reference) == (base is not None):
        raise MissingNeed(
            "a comparison needs models that never saw the forgotten: give either some (",
            ParameterName("reference"),
            "), or what the model was trained from (",
            ParameterName("base"),
            ")",
        )
    require_count(ParameterName("references"), references, most=1_000)
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
    with tempfile.TemporaryDirectory(prefix="olvido-compare-") as scratch:
        named = partial(_folder, tokenizer=tokenizer, kept=Path(scratch) / "models")
        candidate, never = named(model), [named(one) for one in reference]
        loaded = read(candidate)
        task = Language(loaded.tokenizer, chat=chat)
        plan: dict[str, Any] = {
            "model": loaded.digest,
            "records": {name: digest_of(some, task) for name, some in records.items()},
            "reference": [read(other).digest for other in never],
            "base": None
            if base is None
            else [read(base).digest, references, _training_key(base, recipe)],
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
        training = None
        if base is not None:
            never, training = _trained(out, base, read, recipe, references, records, chat, stage)
        cells = []
        own = mark_of({}, audits)
        wanted = list(_wanted(ways, seeds, len(never)))
        for number, (way, row, seed) in enumerate(wanted, 1):
            mark = own if way is None else way.mark
            written = re.sub(r"[^\w.=-]+", "-", row)
            file = out / "cells" / f"{written}{mark}-{seed}.json"
            stage(f"{row}, {number} of {len(wanted)}")
            order = CellSpec(
                candidate,
                tuple(never),
                records,
                row,
                None if way is None else way.method,
                seed,
                str(file),
                str(Path(scratch) / "scores"),
                options={} if way is None else way.options,
                metrics=audits,
                level=level,
                chat=chat,
                dtype=dtype,
                device=device,
                base=None if base is None or way is None or not begins_at_base(way) else str(base),
            )
            cells.append(read_document(file) if file.exists() else _carried_out(order))
        document = ComparisonDocument(
            model=loaded.digest,
            never_trained=tuple(read(name).digest for name in never),
            references=len(never),
            level=level,
            seeds=seeds,
            records={name: len(some) for name, some in records.items()},
            metrics=tuple(name_of(one) for one in audits),
            rows=tuple(
                MethodRow(**row)
                for row in rows_of(cells, training, [name_of(one) for one in audits])
            ),
            cells=tuple(cells),
        ).to_dict()
        write_document(document, out / "comparison.json")
        try:
            drawn = picture(document)
            write_page(document, out / "index.html")
        except MissingExtra as error:
            warnings.warn(f"the comparison has no page: {error}", stacklevel=2)
            return Comparison(document, None, None)
        if drawn is not None:
            write(out / "plane.svg", str(drawn))
        return Comparison(document, out / "index.html", out / "plane.svg")


def _folder(model: Model, *, tokenizer: Any | None, kept: Path) -> str:
    """The name of a model, which is written into a folder where it has none yet."""
    if isinstance(model, str | Path):
        return str(model)
    if tokenizer is None:
        raise InputError(
            "a model that is given as a module is handed to other processes as a folder: give its ",
            ParameterName("tokenizer"),
        )
    kept.mkdir(exist_ok=True)
    folder = kept / str(len(list(kept.iterdir())))
    save(model.model if isinstance(model, Trained) else model, tokenizer, folder)
    return str(folder)


def _begin(out: Path, plan: Mapping[str, Any]) -> None:
    """Write the comparison's plan; a folder of another comparison is refused unchanged."""
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


def _wanted(
    ways: Sequence[ComparedMethod], seeds: int, never: int
) -> Iterator[tuple[ComparedMethod | None, str, int]]:
    """The cells in order: all methods once before any twice."""
    yield None, ORIGINAL, 0
    # A single never-trained model has no other to be audited against.
    if never > 1:
        yield from ((None, NEVER, number) for number in range(never))
    yield from ((way, way.row, seed) for seed in range(seeds) for way in ways)


def _carried_out(order: CellSpec) -> dict[str, Any]:
    """Carry a cell out. A killed process's cell is reported and not stored, so that it is
    tried again."""
    done = subprocess.run(
        [sys.executable, "-m", "olvido.benchmark.cell"],
        input=cloudpickle.dumps(order),
        # Modules that can be imported here can be imported there.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        check=False,
    )
    if done.returncode == 0:
        return read_document(Path(order.out))
    said = done.stderr.decode(errors="replace").strip().splitlines()
    last = said[-1] if said else "nothing was said"
    failure = f"its process ended with status {done.returncode} ({last})"
    made = {"method": order.row, "seed": order.seed, "verdict": "fail"}
    return made | {"failure": failure, "audit": None}


def _trained(
    out: Path,
    base: str | Path,
    read: Callable[..., Loaded],
    recipe: Recipe | None,
    count: int,
    records: Mapping[str, Sequence[Example]],
    chat: bool | None,
    stage: Stage,
) -> tuple[list[str], float]:
    """Never-trained models, existing ones reused; and the tokens of one training."""
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
            took = {"tokens": made.trace.tokens, "seconds": made.trace.seconds}
            write_document(took, out / "never" / f"{number + 1}.json")
            save(made.model, start.tokenizer, folder)
        tokens = float(read_document(out / "never" / f"{number + 1}.json")["tokens"])
        names.append(str(folder))
    return names, tokens


def _training_key(base: str | Path, recipe: Recipe | None) -> dict[str, Any]:
    return dict((recipe or RECIPES.get(str(base), Recipe())).to_dict())


def digest_of(records: Sequence[Example], task: Language) -> str:
    """A digest of the records' ids and contents, in their order."""
    whole = hashlib.sha256()
    for record in records:
        whole.update(hashlib.sha256(record.id.encode()).digest())
        whole.update(hashlib.sha256(task.content(record)).digest())
    return whole.hexdigest()
