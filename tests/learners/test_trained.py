"""What a training kept is read back as it was written, or refused."""

import copy
import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from olvido.artifact_shapes import NOTE
from olvido.demo.residents import Town
from olvido.errors import DigestMismatch, InputError, OlvidoError, StateError
from olvido.files import finite
from olvido.learners import Lora, Recipe, StepLog, Trace, Trained, Untraced, train
from olvido.learners.base import learner_of
from olvido.learners.trained import read_trace, write_trace
from olvido.ledger.facts import Guarantee
from olvido.methods import Outcome, forget
from olvido.methods.types import Cost, Side, StepMetrics, Trial
from olvido.models import save, weights_digest
from olvido.models.digest import export_note
from olvido.tasks import Example, Language, examples
from olvido.training.traces.base import Edited, Placement

Records = tuple[Example, ...]
KINDS: dict[str, dict[str, Any]] = {
    "replayable": {"replay_points": 2},
    "plain": {},
    "sharded": {"learner": "sharded", "shards": 2, "slices": 2},
    "modular": {"learner": "modular", "embedding": "ngrams", "per_module": 2},
}


@pytest.fixture(scope="module")
def people(town: Town) -> Records:
    """Five records of each of four residents."""
    return examples(row for r in town.residents[:4] for row in town.rows_of(r)[:5])


@pytest.fixture(scope="module", params=sorted(KINDS))
def taught(request: pytest.FixtureRequest, small: Any, people: Records, task: Language) -> Trained:
    lora = Lora(rank=2, top_layers=1) if request.param == "modular" else None
    recipe = Recipe(epochs=2, batch_size=4, lr=2e-3, lora=lora)
    return train(small, records=people, task=task, recipe=recipe, **KINDS[request.param])


def logs(trace: Trace) -> list[StepLog]:
    return list(trace.runs.values())


def method_of(trace: Trace) -> str:
    """The exact method that asks most of what a trace offers."""
    special = {"shards": "shard", "modules": "module", "checkpoints": "replay"}
    return next((special[offer] for offer in special if offer in trace.offers), "retrain")


@pytest.fixture
def stored(taught: Trained, tmp_path: Path) -> Path:
    write_trace(taught.trace, tmp_path, base="small", seed=3)
    return tmp_path


@pytest.fixture
def again(small: Any) -> Callable[[Path], Trace]:
    """Reads a trace; what it began with is asked for by the name and seed that were written."""

    def base(name: str, seed: int) -> Any:
        assert (name, seed) == ("small", 3)
        return small

    return lambda folder: read_trace(folder, base)


def test_a_trace_comes_back_as_it_was(
    taught: Trained, stored: Path, again: Callable[[Path], Trace], small: Any
) -> None:
    before, after = taught.trace, again(stored)
    assert type(after) is type(before)
    assert learner_of(after) is learner_of(before)
    assert [log.to_dict() for log in logs(after)] == [log.to_dict() for log in logs(before)]
    assert [log.log for log in logs(after)] == [log.log for log in logs(before)]
    assert all(log.origin.module() is small for log in logs(after))
    for old, new in zip(logs(before), logs(after), strict=True):
        kept = [] if new.checkpoints is None else [path.name for path in new.checkpoints]
        assert kept == ([] if old.checkpoints is None else [path.name for path in old.checkpoints])
    if isinstance(before, Placement):
        assert isinstance(after, Placement)
        assert [part.name for part in after.parts] == [part.name for part in before.parts]
        assert after.options == before.options


def test_a_model_forgets_by_what_was_stored_as_by_what_was_kept(
    taught: Trained,
    stored: Path,
    again: Callable[[Path], Trace],
    people: Records,
    task: Language,
) -> None:
    method = method_of(taught.trace)
    read = Trained(taught.model, taught.digest, again(stored))
    one, other = (
        forget(given, forget=people[:1], retain=people[1:], task=task, method=method)
        for given in (taught, read)
    )
    assert one.digest == other.digest == weights_digest(other.model)
    assert (one.stopped, one.cost.tokens) == (other.stopped, other.cost.tokens)


@pytest.mark.parametrize("where", [0.0, 0.3, 0.5, 0.99])
def test_a_log_that_was_altered_is_refused(
    stored: Path, again: Callable[[Path], Trace], where: float
) -> None:
    file = sorted((stored / "logs").iterdir())[-1]
    content = bytearray(file.read_bytes())
    content[int(where * len(content))] ^= 1
    file.write_bytes(content)
    with pytest.raises(DigestMismatch, match="the step log does not match its digest"):
        again(stored)


@pytest.mark.parametrize("kept", [0, 7, 60, -1])
def test_a_log_that_was_cut_off_is_refused(
    stored: Path, again: Callable[[Path], Trace], kept: int
) -> None:
    file = sorted((stored / "logs").iterdir())[0]
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(StateError, match="step log"):
        again(stored)


def test_a_note_that_was_altered_is_refused(stored: Path, again: Callable[[Path], Trace]) -> None:
    note = json.loads((stored / NOTE).read_text("utf-8"))
    runs = note["runs"]
    name = next(iter(runs))
    forget_ids = {**runs[name]["plan"], "absent": runs[name]["plan"]["slots"][:1]}
    others = [
        {**note, "seed": 4},
        {**note, "base": "large"},
        {**note, "kind": "Untraced"},
        {**note, "runs": {**runs, name: {**runs[name], "seed": 9}}},
        {**note, "runs": {**runs, name: {**runs[name], "plan": forget_ids}}},
        {**note, "kind": "Edited", "previous": {"kind": note["kind"]}},
    ]
    for other in others:
        (stored / NOTE).write_text(json.dumps(other), "utf-8")
        with pytest.raises(DigestMismatch, match=rf"{NOTE} does not match"):
            again(stored)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", "7", "\ud800"])
def test_a_note_that_is_none_is_refused(
    stored: Path, again: Callable[[Path], Trace], text: str
) -> None:
    (stored / NOTE).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(StateError, match=NOTE):
        again(stored)


def test_what_is_gone_is_named(stored: Path, again: Callable[[Path], Trace]) -> None:
    shutil.rmtree(stored / "logs")
    with pytest.raises(StateError, match="logs"):
        again(stored)
    (stored / NOTE).unlink()
    with pytest.raises(StateError, match=NOTE):
        again(stored)


def test_what_other_means_forgot_is_stored_with_the_training_before_it(
    taught: Trained, people: Records, tmp_path: Path, again: Callable[[Path], Trace]
) -> None:
    forget_ids = {people[0].id, people[7].id}
    edited = Edited(taught.trace, losses={"a digest": 2.5}).without(forget_ids)
    write_trace(edited, tmp_path, base="small", seed=3)
    found = again(tmp_path)
    assert isinstance(found, Edited)
    assert (found.forgotten, found.losses) == (forget_ids, edited.losses)
    assert type(found.previous) is type(taught.trace)
    assert [log.to_dict() for log in logs(found)] == [log.to_dict() for log in logs(taught.trace)]
    assert set(found.present) == set(taught.trace.present) - forget_ids
    assert found.taught == taught.trace.taught == set(found.present) | forget_ids
    # Whoever leaves next, exactly, takes along those who left before.
    data_subject = {people[1].id}
    assert found.leaving(data_subject) == (found.previous, forget_ids | data_subject)
    assert found.again(data_subject) == taught.trace.again(forget_ids | data_subject)
    assert found.tokens_without(data_subject) == taught.trace.tokens_without(
        forget_ids | data_subject
    )
    with pytest.raises(InputError, match="records"):
        found.without(["nobody"])


def test_of_a_model_from_elsewhere_nothing_is_known(
    tmp_path: Path, again: Callable[[Path], Trace]
) -> None:
    write_trace(Untraced(), tmp_path, base="small", seed=3)
    assert again(tmp_path) == Untraced()
    assert [path.name for path in tmp_path.iterdir()] == [NOTE]


@pytest.fixture(scope="module")
def begun(small: Any, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what every training here began with."""
    folder = tmp_path_factory.mktemp("begun") / "small"
    save(small, tokenizer, folder)
    return folder


def test_a_saved_model_forgets_another_day_as_it_would_have_today(
    taught: Trained, people: Records, task: Language, begun: Path, tokenizer: Any, tmp_path: Path
) -> None:
    taught.save(tmp_path / "kept", tokenizer, base=str(begun))
    again = Trained.load(tmp_path / "kept")
    assert again.digest == taught.digest == weights_digest(again.model)
    sides: dict[str, Any] = {"forget": people[:5], "retain": people[5:], "task": task}
    sides["method"] = method_of(taught.trace)
    today, later = forget(taught, **sides), forget(again, **sides)
    assert today.digest == later.digest != taught.digest
    assert later.guarantee.value == "exact"
    # And once more, of what was forgotten and how.
    later.save(tmp_path / "forgot", tokenizer, base=str(begun))
    found = Outcome.load(tmp_path / "forgot")
    assert finite(found.to_dict()) == finite(later.to_dict())
    assert found.digest == later.digest
    for shown in (taught, again, later, found):
        assert "\n" not in repr(shown)
        assert len(repr(shown)) < 300
        shown.page(tmp_path / "page.html")
        page = (tmp_path / "page.html").read_text("utf-8")
        assert shown.digest in page
        for setting in re.findall(r'lr</th><td class="num">([^<]*)<', page):
            assert float(setting) == logs(taught.trace)[-1].recipe.lr
        assert not [row.id for row in people if row.id in page or row.completion in page]
    assert "Exact: equal to a training" in page


@pytest.mark.parametrize("wrong", ["unsaid", "another", "seed", "there", "nothing"])
def test_a_model_whose_base_is_not_the_one_it_began_with_is_not_saved(
    small: Any,
    people: Records,
    task: Language,
    begun: Path,
    tokenizer: Any,
    tmp_path: Path,
    wrong: str,
) -> None:
    made = train(small, records=people[:4], task=task, recipe=Recipe(epochs=1, batch_size=4))
    (tmp_path / "there").mkdir()
    given: dict[str, Any] = {
        "unsaid": {},
        "another": {"base": "tiny"},
        "seed": {"base": "tiny", "seed": 5},
        "there": {"base": str(begun)},
        "nothing": {"base": str(tmp_path / "nowhere")},
    }[wrong]
    with pytest.raises(InputError):
        made.save(tmp_path / ("there" if wrong == "there" else "new"), tokenizer, **given)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["there"]


@pytest.mark.parametrize("edit", ["weights", "note", "log", "another note"])
def test_a_saved_model_that_was_edited_is_refused(
    small: Any,
    people: Records,
    task: Language,
    begun: Path,
    tokenizer: Any,
    tmp_path: Path,
    edit: str,
) -> None:
    made = train(small, records=people[:4], task=task, recipe=Recipe(epochs=1, batch_size=4))
    made.save(tmp_path / "kept", tokenizer, base=str(begun))
    kept = tmp_path / "kept"
    if edit == "weights":
        shutil.copyfile(begun / "model.safetensors", kept / "model.safetensors")
    elif edit == "note":
        note = json.loads((kept / NOTE).read_text("utf-8"))
        note["seed"] = 7
        (kept / NOTE).write_text(json.dumps(note), "utf-8")
    elif edit == "log":
        (kept / "logs" / "run.bin").write_bytes(b"")
    else:
        Trained.untraced(small).save(tmp_path / "other", tokenizer)
        shutil.copyfile(tmp_path / "other" / NOTE, kept / NOTE)
    with pytest.raises(OlvidoError):
        Trained.load(kept)


NOTES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a workspace's": (lambda f: write_trace(Untraced(), f, base="small", seed=3), "Workspace.load"),
    "given out": (lambda f: (f / NOTE).write_text(export_note("sha256:0")), "olvido.load"),
    "saved": (lambda _: None, "Trained.load"),
}
"""What else of Olvido's own lies beside a model, and what opens such a folder."""


@pytest.mark.parametrize("kind", NOTES)
def test_another_folder_of_our_own_is_told_what_opens_it(
    small: Any, tokenizer: Any, tmp_path: Path, kind: str
) -> None:
    write_note, opens = NOTES[kind]
    folder = tmp_path / "model"
    Trained.untraced(small).save(folder, tokenizer)
    write_note(folder)
    for load in (Trained.load, Outcome.load):
        if (load, kind) == (Trained.load, "saved"):
            continue
        with pytest.raises(InputError) as refused:
            load(folder)
        assert str(folder) in str(refused.value)
        assert "None" not in str(refused.value)
        if load == Trained.load or kind == "saved":
            assert opens in str(refused.value)


def _outcome(model: Any) -> Outcome:
    """What some method did, with a search's trials and a long history, made of facts alone."""
    told = Untraced()
    trial = Trial("<b>x</b>", {"lr": 0.1}, {}, Side.TOO_LITTLE, 1.0, 2.0, 3.0, "so", True)
    history = [StepMetrics(step, float(step), None) for step in range(1000)]
    return Outcome(
        model, weights_digest(model), "sha256:0", told, "<i>npo</i>", {"lr": "<script>"},
        Guarantee.EMPIRICAL, Cost(math.nan), "it \u202e ended", (0.1, math.inf), (0.2, 0.3),
        history, [trial],
    )  # fmt: skip


def test_a_page_of_what_was_done_says_it_as_text_whole_or_not_at_all(
    small: Any, tmp_path: Path
) -> None:
    outcome, path = _outcome(small), tmp_path / "page.html"
    outcome.page(path)
    page = path.read_text("utf-8")
    assert not re.search("<script|<b>|<i>|\u202e|http", page)
    for says in ("none is part of this", "&lt;i&gt;npo", "infinite", "nan", "999"):
        assert says in page, says
    # Nothing was audited, and nothing passed.
    assert "passed the audits" not in page
    assert page.count("<tr>") < 40
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    for wrong in (tmp_path, path / "under.html"):
        with pytest.raises(OSError):
            outcome.page(wrong)
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    assert path.read_text("utf-8") == page


@pytest.mark.parametrize("version", [None, 0, 2, "1", [1]])
def test_an_outcome_of_another_version_is_refused(
    small: Any, tokenizer: Any, tmp_path: Path, version: Any
) -> None:
    _outcome(small).save(tmp_path / "kept", tokenizer)
    assert Outcome.load(tmp_path / "kept").method == "<i>npo</i>"
    told = json.loads((file := tmp_path / "kept" / "outcome.json").read_text("utf-8"))
    file.write_text(json.dumps(told | {"version": version}), "utf-8")
    with pytest.raises(StateError, match="version"):
        Outcome.load(tmp_path / "kept")


def test_a_model_from_elsewhere_is_saved_without_a_base(
    small: Any, tokenizer: Any, tmp_path: Path
) -> None:
    half = copy.deepcopy(small).to(torch.bfloat16)
    for number, model in enumerate((small, half)):
        Trained.untraced(model).save(tmp_path / str(number), tokenizer)
        again = Trained.load(tmp_path / str(number))
        assert again.digest == weights_digest(model)
        assert isinstance(again.trace, Untraced)
    with pytest.raises(InputError, match="holds no"):
        Trained.load(tmp_path)
