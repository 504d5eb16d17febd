"""All that Olvido writes, written by Olvido itself: its demo, and what a team does beside it.

Two residents of a tiny town ask to be forgotten. Around the demo's workspace every part of the
product that writes a file writes one, and it is noted which modules were at work.
"""

from __future__ import annotations

import builtins
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from tests.launching import cells_here

from olvido import audit, forget
from olvido.accounts import Accounts
from olvido.cli import run as command
from olvido.data.importing import import_rows
from olvido.demo import residents, story
from olvido.files import being_written
from olvido.learners import Recipe, Trained, train
from olvido.ledger.facts import Guarantee
from olvido.models import Loaded, base, load, save
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.requests import handlers, plan, receive
from olvido.requests.certificate import issue
from olvido.requests.closure import close, settle
from olvido.requests.publishing import Prepared, publish
from olvido.requests.workflow import forgetting
from olvido.schemas.options import RunOptions
from olvido.settings import Settings
from olvido.tasks import Language
from olvido.workspace import Workspace

SMALL = {"residents": 6, "outsiders": 4, "wordings": 1}
RECIPE = Recipe(epochs=6, batch_size=8, lr=1e-2)
LEARNING = ("--epochs", 2, "--batch-size", 8)
LEARNERS: Mapping[str, Mapping[str, Any]] = {
    "modular": {"embedding": "ngrams", "per_module": 3},
    "sharded": {"shards": 2, "slices": 2},
}


class Recorder:
    """By path, the modules of Olvido that were at work when it was written or got its name.

    Args:
        root: of the files that are noted.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.modules: dict[Path, set[str]] = {}

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Note every file that is opened for writing, every folder made, and every new name."""

        def opening(real: Callable[..., Any], usual: str | int) -> Callable[..., Any]:
            def opened(path: Any, mode: Any = usual, *args: Any, **kwargs: Any) -> Any:
                if mode & os.O_ACCMODE if isinstance(mode, int) else set(mode) & set("wxa+"):
                    self._note(path)
                return real(path, mode, *args, **kwargs)

            return opened

        def naming(real: Callable[..., Any], moved: bool) -> Callable[..., Any]:
            def named(old: Any, new: Any, *args: Any, **kwargs: Any) -> None:
                real(old, new, *args, **kwargs)
                self._name(Path(old), Path(new), moved=moved)

            return named

        def making(real: Callable[..., Any]) -> Callable[..., Any]:
            def made(path: Any, *args: Any, **kwargs: Any) -> None:
                real(path, *args, **kwargs)
                self._note(path)

            return made

        patch.setattr(io, "open", opening(io.open, "r"))
        patch.setattr(builtins, "open", opening(builtins.open, "r"))
        patch.setattr(os, "open", opening(os.open, os.O_RDONLY))
        patch.setattr(os, "mkdir", making(os.mkdir))
        for name, moved in (("replace", True), ("rename", True), ("link", False)):
            patch.setattr(os, name, naming(getattr(os, name), moved))

    def by(self, path: Path) -> set[str]:
        """The modules that wrote a file, made the folder it came with or, in a folder, anything."""
        home = next((one for one in (path, *path.parents) if one in self.modules), path)
        return set().union(
            *(some for at, some in self.modules.items() if at == home or path in at.parents)
        )

    def _note(self, path: Any) -> None:
        if isinstance(path, (str, os.PathLike)) and self.root in (at := Path(path)).parents:
            self.modules.setdefault(at, set()).update(_at_work(sys._getframe(2)))

    def _name(self, old: Path, new: Path, *, moved: bool) -> None:
        self._note(new)
        for path in [p for p in self.modules if p == old or old in p.parents]:
            modules = self.modules.pop(path) if moved else self.modules[path]
            self.modules.setdefault(new / path.relative_to(old), set()).update(modules)


def _at_work(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("olvido."):
            yield name
        frame = frame.f_back


class Killed(BaseException):
    """What ends a process at once."""


@contextmanager
def killed() -> Iterator[None]:
    """Whoever writes is ended before the file has its name, and cleans up nothing."""

    def ends(*args: Any, **kwargs: Any) -> None:
        raise Killed

    def stays(*args: Any, **kwargs: Any) -> None:
        return

    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        for module in ("olvido.files", "olvido.ledger.rows", "olvido.data.importing"):
            patch.setattr(f"{module}.publish", ends)
        patch.setattr(Path, "unlink", stays)
        patch.setattr(shutil, "rmtree", stays)
        yield


@dataclass(frozen=True)
class Written:
    """A workspace with everything in it.

    Attributes:
        folder: of the workspace.
        recorder: knows who wrote what.
        town: who lives there.
        requests: of the first two residents.
    """

    folder: Path
    recorder: Recorder
    town: residents.Town
    requests: list[str] = field(default_factory=list)

    def opened(self) -> Workspace:
        return Workspace(Settings.load(self.folder, environment={}))

    def rows(self, person: int) -> list[dict[str, Any]]:
        return self.town.rows_of(self.town.residents[person])

    @property
    def second(self) -> str:
        """The name of the one who asks after the demo."""
        return self.town.residents[1].name

    def copy(self, path: Path, folder: Path) -> None:
        """As somebody copies what Olvido wrote."""
        self.recorder.modules[Path(shutil.copy2(path, folder))] = self.recorder.by(path)

    def file(self, name: str) -> Path:
        return self.folder / "files" / f"{name}.jsonl"

    def olvido(self, *arguments: Any) -> None:
        """A command that must succeed, or say no."""
        err = io.StringIO()
        with redirect_stdout(io.StringIO()), redirect_stderr(err):
            status = command([*map(str, arguments), "--workspace", str(self.folder), "--json"])
        assert status in (0, 1), (arguments, err.getvalue())

    def everything(self) -> None:
        """Write it all."""
        with pytest.MonkeyPatch.context() as patch:
            self.recorder.watch(patch)
            city = residents._city_rows
            patch.setattr(residents, "_city_rows", lambda seed: list(city(seed))[:6])
            patch.setitem(base.MODELS, "tiny", _tiny)
            patch.setattr(story, "FAST", SMALL)
            patch.setattr(story, "FAST_RECIPE", RECIPE)
            cells_here(patch)
            story.tell(self.folder, fast=True, references=1, method="retrain")
            self.requests.append("req-0001")
            for step in (
                *(_learns, _saves, _forgets, _audits, _compares, _looks, _breaks_off),
                *(_answers, _gives, _restores, _tells, _erases),
            ):
                step(self)


def _tiny(seed: int, cache: Path, **_: Any) -> Loaded:
    tokenizer = tiny_tokenizer()
    model = tiny_model(len(tokenizer), seed=seed, width=32, layers=2)
    return Loaded(model.eval(), tokenizer, "tiny")


def _learns(at: Written) -> None:
    def ends(progress: Any) -> None:
        for step in (at.folder / "models").glob(".run-*/**/step-*.pt"):
            # Nobody is to take it away while it runs.
            assert any(f.name.startswith(".run-") and being_written(f) for f in step.parents)
            raise Killed

    with at.opened() as workspace:

        def learn(learner: str, **how: Any) -> Any:
            options = LEARNERS[learner]
            return workspace.learn(
                ["residents"], model="tiny", recipe=RECIPE, learner=learner, options=options, **how
            )

        for learner in LEARNERS:
            workspace.store.set_alias(learner, learn(learner).id)
        with suppress(Killed):
            learn("sharded", seed=5, watch=ends)
        copies, models = at.folder / "copies", workspace.settings.models
        copies.mkdir()
        at.copy(next(models.glob(".run-*/**/step-*.pt")), copies)
        modular = models / workspace.store.model("modular").path
        at.copy(next(modular.rglob("activations.safetensors")), copies)
    at.olvido("models", "export", "modular", at.folder / "exported")


def _saves(at: Written) -> None:
    hers, theirs = at.rows(1), [row for number in (2, 3) for row in at.rows(number)]
    for name, some in (("hers", hers), ("theirs", theirs)):
        at.file(name).write_text("".join(json.dumps(row) + "\n" for row in some))
    loaded = load("tiny")
    task = Language(loaded.tokenizer)
    trained = train(loaded.model, records=[*hers, *theirs], task=task, recipe=RECIPE)
    trained.save(at.folder / "trained", loaded.tokenizer, base="tiny")
    outcome = forget(trained, forget=hers, retain=theirs, task=task, method="task_vector")
    outcome.save(at.folder / "outcome", loaded.tokenizer, base="tiny")
    outcome.page(at.folder / "outcome.html")
    trained.page(at.folder / "trained.html")


def _records(at: Written) -> tuple[Any, ...]:
    return ("--forget", at.file("hers"), "--retain", at.file("theirs"))


def _forgets(at: Written) -> None:
    search = ("--method", "auto", "--option", "methods=ascent")
    beside = ("--holdout", at.file("holdout"), "--reference", at.folder / "outcome")
    out = ("--trials", at.folder / "trials", "--out", at.folder / "forgot")
    at.olvido("forget", at.folder / "trained", *_records(at), *beside, *search, *out)


def _audits(at: Written) -> None:
    beside = ("--original", at.folder / "trained", "--base", "tiny", "--references", 1, *LEARNING)
    out = ("--keep", at.folder / "kept", "--cache", at.folder / "cache")
    page = ("--audits", "recall,change", "--page", at.folder / "audit.html")
    at.olvido("audit", at.folder / "forgot", *_records(at), *beside, *out, *page)
    model, before, never = (load(at.folder / name) for name in ("forgot", "trained", "outcome"))
    report = audit(
        model.model,
        forget=at.rows(1),
        reference=never.model,
        original=before.model,
        tokenizer=model.tokenizer,
        audits=["recall"],
    )
    report.save(at.folder / "report.json")


def _compares(at: Written) -> None:
    beside = ("--base", "tiny", "--references", 1, "--methods", "ascent", "--seeds", 1, *LEARNING)
    out = ("--out", at.folder / "compared")
    at.olvido("compare", at.folder / "trained", *_records(at), *beside, *out)


def _looks(at: Written) -> None:
    row, taught = at.rows(1)[0], ("--records", at.file("retain"))
    at.olvido("curvature", at.folder / "trained", *taught, "--out", at.folder / "factors")
    asked = ("--question", row["prompt"], "--answer", row["completion"], "--method", "gradient")
    page = ("--page", at.folder / "trace.html")
    at.olvido("trace", at.folder / "trained", "--records", at.file("hers"), *asked, *page)


def _breaks_off(at: Written) -> None:
    row = at.rows(1)[0]
    near = row | {"subject": "Cai Roca", "id": "near"}
    lines = (json.dumps(one) + "\n" for one in (near, row | {"id": "bad", "prompt": []}))
    at.file("scraped").write_text("".join(lines))
    bad = ("--skip-bad", at.folder / "bad.jsonl")
    at.olvido("data", "add", at.file("scraped"), "--name", "scraped", *bad)
    with at.opened() as workspace, killed():
        import_rows(workspace.store, workspace.settings.data, at.rows(1), name="late")
    loaded = load("tiny")
    with killed():
        save(loaded.model, loaded.tokenizer, at.folder / "torn")


def _answers(at: Written) -> None:
    """As a worker does, which was ended before it could clean up."""
    with at.opened() as workspace:
        settings, store = workspace.settings, workspace.store
        Accounts.of(settings).new("privacy", "Eva")
        # A name of one word cannot be searched for, which is an item, too.
        request = receive(workspace, at.second, also=["Cher"], law="gdpr").id
        at.requests.append(request)
        _asks(at, request)
        plan(workspace, request, how=RunOptions(model="sharded"))
        order = RunOptions(model=store.model("sharded").id, method="shard")
        handlers.approve(workspace, request, by="Eva", order=order)
        done = forgetting.read_result(workspace, request, forgetting.forget(settings, request))
        publish(workspace, Prepared.from_dict(done))
        issue(workspace, request)


def _asks(at: Written, request: str) -> None:
    letter = ("--kind", "needs-information", "--reason", f"Which {at.second} are you?")
    at.olvido("request", "wait", request, "--for", "clarification", "--why", "there are two")
    at.olvido("notice", request, *letter, "--out", at.folder / "letter.txt")
    at.olvido("request", "resume", request)


def _gives(at: Written) -> None:
    """The one who asked to be forgotten asks what is held, too."""
    with at.opened() as workspace:
        request = receive(workspace, at.second, kind="access")
    out = ("--out", at.folder / "answer", "--by", "Eva", "--unchecked", "it was checked before")
    at.olvido("request", "export", request.id, *out)


def _restores(at: Written) -> None:
    """A model forgets, and gets the checkpoints and activations of before from a backup."""
    with at.opened() as workspace:
        store, models = workspace.store, workspace.settings.models
        held = workspace.load("serving")
        hers, theirs = at.rows(1), at.rows(2)
        outcome = forget(
            held.trained, forget=hers, retain=theirs, task=held.task, method="task_vector"
        )
        trained = Trained(outcome.model, outcome.digest, outcome.trace)
        staged = workspace.stage(held, trained, method="task_vector", options={}, seed=0)
        gone = frozenset(row["id"] for row in hers)
        use = replace(store.uses(held.fact.id)[0], forgotten=gone, guarantee=Guarantee.EMPIRICAL)
        store.add_model(staged, [use])
        for learner in LEARNERS:
            before = models / store.model(learner).path / "checkpoints"
            for path in before.rglob("*.*"):
                home = models / staged.path / "checkpoints" / path.parent.name
                home.mkdir(parents=True, exist_ok=True)
                at.copy(path, home)


def _tells(at: Written) -> None:
    at.olvido("data", "tombstones", at.folder / "tombstones.json")
    at.olvido("log", "sign", "--out", at.folder / "head.txt")


def _erases(at: Written) -> None:
    """Write a file again without somebody's rows."""
    with at.opened() as workspace:
        close(workspace, at.requests[1])
        settle(workspace, at.requests[1], erased=["file:files/retain.jsonl"])


def written(root: Path) -> Written:
    """A new workspace, with all that can be written in it."""
    made = Written(root / "workspace", Recorder(root), residents.make_town(seed=0, **SMALL))
    made.everything()
    return made
