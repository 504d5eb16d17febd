"""A run that is cut off goes on with the same bits, and only ever from its own checkpoints."""

import gc
import os
import pickle
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from olvido.errors import DigestMismatch, StateError
from olvido.learners import Lora, Progress, Recipe, StepLog, train
from olvido.learners.monolith import Monolith
from olvido.models import weights_digest
from olvido.tasks import Example, Language
from olvido.training.checkpoint import KEPT, Checkpoint, CheckpointStore, read

Records = tuple[Example, ...]
Run = Callable[..., tuple[Any, Any]]
"""A learner's `run` with all that the learner is given beside model and records."""


class CutOff(Exception):
    """Stands for whatever ends a run in the middle."""


def learner(recipe: Recipe, folder: Path | None = None, seed: int = 0) -> Run:
    return partial(Monolith(safety=2).run, recipe=recipe, seed=seed, folder=folder)


def cut_at(step: int) -> Callable[[Progress], None]:
    def watch(progress: Progress) -> None:
        if progress.step == step:
            raise CutOff

    return watch


def cut_off(run: Run, model: Any, records: Records, task: Language, step: int) -> None:
    with pytest.raises(CutOff):
        run(model, records, task, watch=cut_at(step))


@pytest.mark.slow(but=["12-{}", "1-{'optimizer': 'sgd'}"])
@pytest.mark.parametrize(
    "change", [{}, {"optimizer": "sgd"}, {"lora": Lora(rank=2)}, {"dtype": "bfloat16"}], ids=str
)
@pytest.mark.parametrize("step", [1, 6, 12])
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_a_run_that_is_cut_off_gives_the_same_bits(
    small: Any,
    few: Records,
    task: Language,
    short: Recipe,
    tmp_path: Path,
    change: dict[str, Any],
    step: int,
) -> None:
    recipe = replace(short, **change)
    whole, log = learner(recipe)(small, few, task)
    cut_off(learner(recipe, tmp_path), small, few, task, step)

    seen: list[Progress] = []
    again, resumed = learner(recipe, tmp_path)(small, few, task, watch=seen.append)
    assert weights_digest(again) == weights_digest(whole)
    assert isinstance(log, StepLog)
    assert isinstance(resumed, StepLog)
    assert (resumed.losses, resumed.tokens) == (log.losses, log.tokens)
    # What was done before the cut is not done again.
    assert [p.step for p in seen] == list(range((step - 1) // 2 * 2 + 1, 13))


KILLED = """
import os, pickle, signal, stat, sys
import torch
from olvido.learners import Recipe
from olvido.learners.monolith import Monolith
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.tasks import Language, examples

torch.set_num_threads(1)
model, rows, recipe, folder = pickle.loads(sys.stdin.buffer.read())
synced = []

def fsync(file, real=os.fsync):
    # A folder's names are brought to the disk as well: what counts is the third checkpoint.
    if stat.S_ISREG(os.fstat(file).st_mode):
        synced.append(file)
    if len(synced) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    real(file)

os.fsync = fsync
Monolith(safety=2).run(
    model, examples(rows), Language(tiny_tokenizer()), recipe=recipe, folder=folder
)
"""


@pytest.mark.slow
def test_a_run_killed_while_it_writes_gives_the_same_bits(
    small: Any, few: Records, task: Language, short: Recipe, tmp_path: Path
) -> None:
    rows = [dict(record.fields) for record in few]
    child = subprocess.run(
        [sys.executable, "-c", KILLED],
        input=pickle.dumps((small, rows, short, tmp_path)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
        capture_output=True,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    whole, _ = learner(short)(small, few, task)
    seen: list[Progress] = []
    again, _ = learner(short, tmp_path)(small, few, task, watch=seen.append)
    assert seen[0].step == 5
    assert weights_digest(again) == weights_digest(whole)


def test_a_full_disk_leaves_the_last_checkpoint(
    small: Any,
    few: Records,
    task: Language,
    short: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cut_off(learner(short, tmp_path), small, few, task, 4)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="disk full"):
            learner(short, tmp_path)(small, few, task)
    after = {path.name: path.read_bytes() for path in tmp_path.glob("step-*")}
    assert after == before
    whole, _ = learner(short)(small, few, task)
    again, _ = learner(short, tmp_path)(small, few, task)
    assert weights_digest(again) == weights_digest(whole)


def test_only_the_newest_are_kept(
    small: Any, few: Records, task: Language, short: Recipe, tmp_path: Path
) -> None:
    learner(short, tmp_path)(small, few, task)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [name[:14] for name in names] == ["step-000000010", "step-000000012"]
    assert len(names) == KEPT


@pytest.mark.slow
def test_checkpoints_come_through_the_door(
    small: Any, few: Records, task: Language, tmp_path: Path
) -> None:
    recipe = Recipe(epochs=27, batch_size=4, lr=1e-3)
    whole = train(small, records=few, task=task, recipe=recipe)
    with pytest.raises(CutOff):
        train(small, records=few, task=task, recipe=recipe, folder=tmp_path, watch=cut_at(105))
    steps: list[int] = []
    again = train(
        small,
        records=few,
        task=task,
        recipe=recipe,
        folder=tmp_path,
        watch=lambda progress: steps.append(progress.step),
    )
    assert steps == list(range(101, 109))
    assert again.digest == whole.digest


@pytest.fixture
def begun(small: Any, few: Records, task: Language, short: Recipe, tmp_path: Path) -> Path:
    """The folder of a run that was cut off."""
    cut_off(learner(short, tmp_path), small, few, task, 6)
    return tmp_path


def test_a_run_taken_up_at_its_very_end_ends_in_the_same_state(
    small: Any, few: Records, task: Language, short: Recipe, tmp_path: Path
) -> None:
    # Killed after its last checkpoint: nothing is left to do, and nothing may be lost.
    _, log = learner(short, tmp_path)(small, few, task)
    torch.manual_seed(7)
    again, resumed = learner(short, tmp_path)(small, few, task)
    assert resumed.final == log.final
    assert weights_digest(again) == weights_digest(learner(short)(small, few, task)[0])


def test_another_runs_checkpoints_are_refused(
    small: Any, gpt2: Any, few: Records, task: Language, short: Recipe, begun: Path
) -> None:
    kept = {path: path.read_bytes() for path in begun.iterdir()}
    other = replace(few[0], completion=f"{few[0].completion[:-1]}9")
    others = [
        (learner(short, begun, seed=1), small, few),
        (learner(replace(short, lr=1e-4), begun), small, few),
        (learner(short, begun), gpt2, few),
        (learner(short, begun), small, few[1:]),
        (learner(short, begun), small, (other, *few[1:])),
    ]
    for run, model, records in others:
        with pytest.raises(StateError, match="give an empty folder"):
            run(model, records, task)
    torch.set_num_threads(2)
    try:
        with pytest.raises(StateError, match="or environment"):
            learner(short, begun)(small, few, task)
    finally:
        torch.set_num_threads(1)
    assert {path: path.read_bytes() for path in begun.iterdir()} == kept


@pytest.mark.parametrize("where", [0, 0.5, -1])
def test_where_bytes_changed_the_one_before_is_used_and_the_log_says_so(
    small: Any, few: Records, task: Language, short: Recipe, begun: Path, where: float
) -> None:
    whole, _ = learner(short)(small, few, task)
    newest = max(begun.iterdir())
    content = bytearray(newest.read_bytes())
    content[int(where * len(content)) if where > 0 else int(where)] ^= 1
    newest.write_bytes(content)
    with pytest.raises(DigestMismatch, match="does not match its digest"):
        read(newest)
    seen: list[Progress] = []
    again, log = learner(short, begun)(small, few, task, watch=seen.append)
    assert seen[0].step == 3
    assert len(log.notes) == 1
    assert "does not match its digest" in log.notes[0]
    assert weights_digest(again) == weights_digest(whole)


def test_other_files_in_the_folder_are_left_alone(
    small: Any, few: Records, task: Language, short: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "step-1.pt").write_text("mine too")
    learner(short, tmp_path)(small, few, task)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "step-1.pt").read_text() == "mine too"
    with pytest.raises(StateError, match="is not a checkpoint"):
        read(tmp_path / "step-1.pt")


def test_nothing_to_resume(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert CheckpointStore(folder).newest(before=9, usable=lambda _: True) == (None, ())


@pytest.mark.slow
def test_a_temporary_shelf_goes_with_its_owner_and_not_with_a_copy() -> None:
    checkpoints = CheckpointStore()
    (checkpoints.folder / "something").touch()
    folder = checkpoints.folder
    copied = pickle.loads(pickle.dumps(checkpoints))
    assert copied.folder == folder
    del copied
    gc.collect()
    assert folder.exists()
    # A warning would be an error here.
    del checkpoints
    gc.collect()
    assert not folder.exists()


def test_no_copy_of_the_weights_is_made_to_write_or_read_them(tmp_path: Path) -> None:
    weights = {str(n): torch.arange(250_000.0) + n for n in range(4)}
    state = Checkpoint(1, "", "", weights, {}, [], b"log", 0.0)
    tracemalloc.start()
    try:
        path = CheckpointStore(tmp_path).write(state)
        found = read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sha256(path.read_bytes()).hexdigest() in path.name
    assert all(found.weights[name].equal(weights[name]) for name in weights)
    # One tensor at a time passes through; torch's own memory is not traced.
    assert peak < 2 * weights["0"].nbytes
    assert sorted(tmp_path.iterdir()) == [path]
