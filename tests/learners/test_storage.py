"""What a training kept is read back as it was written, or refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from olvido.demo.residents import Town
from olvido.errors import DigestMismatch, StateError
from olvido.forgetting import forget
from olvido.learners import Lora, Recipe, StepLog, Trace, Trained, Untraced, train
from olvido.learners.base import learner_of
from olvido.learners.storage import NOTE, read_trace, write_trace
from olvido.learners.trace import Placement
from olvido.models import weights_digest
from olvido.tasks import Example, Language, examples

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
    if isinstance(trace, Placement):
        return [part.log for part in trace.parts]
    return [trace] if isinstance(trace, StepLog) else []


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
        kept = [] if new.shelf is None else [path.name for path in new.shelf]
        assert kept == ([] if old.shelf is None else [path.name for path in old.shelf])
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
    method = {"sharded": "shard", "modular": "module"}.get(
        getattr(taught.trace, "learner", ""), "retrain"
    )
    if isinstance(taught.trace, StepLog) and taught.trace.shelf is not None:
        method = "replay"
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
    gone = {**runs[name]["plan"], "absent": runs[name]["plan"]["slots"][:1]}
    others = [
        {**note, "seed": 4},
        {**note, "base": "large"},
        {**note, "kind": "Untraced"},
        {**note, "runs": {**runs, name: {**runs[name], "seed": 9}}},
        {**note, "runs": {**runs, name: {**runs[name], "plan": gone}}},
        {**note, "runs": {**runs, name: {**runs[name], "since": gone["absent"]}}},
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


def test_of_a_model_from_elsewhere_nothing_is_known(
    tmp_path: Path, again: Callable[[Path], Trace]
) -> None:
    write_trace(Untraced(), tmp_path, base="small", seed=3)
    assert again(tmp_path) == Untraced()
    assert [path.name for path in tmp_path.iterdir()] == [NOTE]
