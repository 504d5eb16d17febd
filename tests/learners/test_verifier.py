"""The proof: trained over in processes that never saw who left, and compared bit for bit."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.launching import carried_out_here

from olvido.demo.residents import Town
from olvido.errors import EnvironmentMismatch, InputError, StateError
from olvido.learners import Lora, Placement, Recipe, StepLog, Trained, fresh, train, verifier
from olvido.learners.fresh import ProcessJob, carry_out_fresh, take
from olvido.learners.verifier import PROVEN, STATES, Verified, verify
from olvido.methods import forget
from olvido.models import weights_digest
from olvido.models.tiny import tiny_tokenizer
from olvido.tasks import Example, Language, examples
from olvido.training.traces.base import Edited

Records = tuple[Example, ...]
RECIPE = Recipe(epochs=2, batch_size=2, lr=2e-3)


@pytest.fixture(scope="module")
def people(town: Town) -> Records:
    """Twelve records of six residents."""
    return examples(row for p in town.residents[:6] for row in town.rows_of(p)[:2])


@pytest.fixture(scope="module")
def forget_ids(people: Records) -> Records:
    return people[2:4]


@pytest.fixture(scope="module")
def stay(people: Records, forget_ids: Records) -> Records:
    return tuple(record for record in people if record not in forget_ids)


def without(
    taught: Trained, forget_ids: Records, stay: Records, task: Language, method: str
) -> Trained:
    made = forget(taught, forget=forget_ids, retain=stay, task=task, method=method)
    return Trained(made.model, made.digest, made.trace)


@pytest.fixture(scope="module")
def taught(gpt2: Any, people: Records, task: Language) -> Trained:
    return train(gpt2, records=people, task=task, recipe=RECIPE, replay_points=2)


@pytest.fixture(scope="module")
def forgot(taught: Trained, forget_ids: Records, stay: Records, task: Language) -> Trained:
    """A model that forgot by replay."""
    return without(taught, forget_ids, stay, task, "replay")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Runs are repeated in the test's own process, which is quicker; gives the files sent."""
    files = []

    def carried_out(sent: Path) -> tuple[Any, float]:
        files.append(sent)
        return carried_out_here(sent)

    monkeypatch.setattr(verifier, "carry_out_fresh", carried_out)
    return files


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be trained."""

    def never(sent: Path) -> Any:
        raise AssertionError("something was trained")

    monkeypatch.setattr(verifier, "carry_out_fresh", never)


@pytest.mark.slow
def test_fresh_processes_come_to_the_same_bits(
    gpt2: Any, people: Records, forget_ids: Records, stay: Records, task: Language
) -> None:
    recipe = replace(RECIPE, dtype="bfloat16", lora=Lora(rank=2, dropout=0.1))
    options = {"learner": "sharded", "shards": 2, "slices": 2}
    taught = train(gpt2, records=people, task=task, recipe=recipe, **options)
    forgot = without(taught, forget_ids, stay, task, "shard")
    told: list[int] = []
    found = verify(forgot, stay, task, workers=2, watch=lambda p: told.append(p.step))
    assert found.equal
    assert found.found == forgot.digest != taught.digest
    assert isinstance(forgot.trace, Placement)
    logs = {part.name: part.log for part in forgot.trace.parts}
    assert [run.name for run in found.runs] == list(logs) == ["shard-000", "shard-001"]
    for run in found.runs:
        assert run.found == logs[run.name].final
        assert run.matched == STATES
        assert run.seconds > 0
    assert (found.present, found.absent) == (10, 2)
    assert told[-1] == sum(log.plan.total_steps for log in logs.values())


def test_those_who_left_are_not_in_what_is_sent(
    forgot: Trained,
    people: Records,
    forget_ids: Records,
    task: Language,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, bytes] = {}

    def carried_out(sent: Path) -> tuple[Any, float]:
        seen.update({path.name: path.read_bytes() for path in sent.parent.iterdir()})
        return carried_out_here(sent)

    monkeypatch.setattr(verifier, "carry_out_fresh", carried_out)
    # All are given, and the task has read them all; those who stay have to be found in the files.
    assert verify(forgot, people, task).equal
    assert set(seen) == {"origin", "run.sent"}
    assert b"step-" not in seen["run.sent"]
    everything = b"".join(seen.values())
    for record in people:
        for text in (record.prompt, record.completion, *record.fields["paraphrases"]):
            if record not in forget_ids:
                assert text.encode() in everything
            elif not any(
                text in other.fields.values() for other in people if other not in forget_ids
            ):
                assert text.encode() not in everything
    names = {subject for record in forget_ids for subject in record.subjects}
    assert names
    assert not any(name.encode() in everything for name in names)


def test_what_is_sent_holds_the_course_and_those_present(
    forgot: Trained, people: Records, stay: Records, task: Language, here: list[Path]
) -> None:
    taken: list[ProcessJob] = []
    real = fresh._carried_out

    def carried_out(sent: ProcessJob) -> Any:
        taken.append(sent)
        return real(sent)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fresh, "_carried_out", carried_out)
        verify(forgot, people, task)
    assert isinstance(forgot.trace, StepLog)
    assert [(sent.records, sent.spec) for sent in taken] == [(stay, forgot.trace.spec)]


def test_a_model_that_never_forgot_can_be_verified_too(
    taught: Trained, people: Records, task: Language, here: list[Path]
) -> None:
    found = verify(taught, people, task)
    assert found.equal
    assert (found.present, found.absent) == (12, 0)


def test_modules_are_put_together_again(
    small: Any,
    people: Records,
    forget_ids: Records,
    stay: Records,
    task: Language,
    here: list[Path],
) -> None:
    options = {"learner": "modular", "embedding": "ngrams", "threshold": 0.4}
    recipe = replace(RECIPE, lora=Lora(rank=2, top_layers=1))
    taught = train(small, records=people, task=task, recipe=recipe, **options)
    forgot = without(taught, forget_ids, stay, task, "module")
    found = verify(forgot, stay, task)
    assert found.equal
    assert len(found.runs) == 3


def test_other_weights_are_found_out(
    forgot: Trained, stay: Records, task: Language, gpt2: Any, here: list[Path]
) -> None:
    digest = weights_digest(gpt2)
    found = verify(replace(forgot, model=gpt2, digest=digest), stay, task)
    assert not found.equal
    assert (found.recorded, found.found) == (digest, forgot.digest)
    assert all(run.equal for run in found.runs)
    assert found.to_dict()["proven"] is None


@pytest.mark.parametrize("state", STATES)
def test_another_end_of_a_run_is_found_out(
    forgot: Trained, stay: Records, task: Language, here: list[Path], state: str
) -> None:
    assert isinstance(forgot.trace, StepLog)
    log = replace(forgot.trace, final={**forgot.trace.final, state: "0" * 64})
    (run,) = (found := verify(replace(forgot, trace=log), stay, task)).runs
    assert not found.equal
    assert run.differing == (state,)
    assert set(run.matched) == set(STATES) - {state}
    missing = {name: digest for name, digest in forgot.trace.final.items() if name != state}
    (run,) = verify(replace(forgot, trace=replace(log, final=missing)), stay, task).runs
    assert run.differing == (state,)


def test_it_can_be_written_down(
    forgot: Trained, stay: Records, task: Language, here: list[Path]
) -> None:
    document = json.loads(json.dumps(verify(forgot, stay, task).to_dict()))
    assert (document["equal"], document["proven"]) == (True, PROVEN)
    assert document["not_proven"]
    assert document["model"] == {"recorded": forgot.digest, "found": forgot.digest}
    assert document["runs"][0]["matched"] == list(STATES)


@pytest.mark.parametrize("learner", ["monolith", "sharded"])
def test_where_everybody_left_the_base_is_compared(
    gpt2: Any, people: Records, task: Language, here: list[Path], learner: str
) -> None:
    taught = train(gpt2, records=people, task=task, recipe=RECIPE, learner=learner)
    left = without(taught, people, (), task, "retrain")
    found = verify(left, (), task)
    assert found.equal
    assert found.found == weights_digest(gpt2)
    assert found.present == 0
    assert len(found.runs) == (1 if learner == "monolith" else 0)
    with torch.no_grad():
        next(left.model.parameters()).add_(1.0)
    worse = replace(left, digest=weights_digest(left.model))
    assert not verify(worse, (), task).equal


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("line", ["torch", "cpu_capability", "attention", "world_size"])
def test_another_environment_is_named_before_anything_is_trained(
    forgot: Trained, stay: Records, task: Language, line: str
) -> None:
    assert isinstance(forgot.trace, StepLog)
    log = replace(forgot.trace, environment={**forgot.trace.environment, line: "another"})
    with pytest.raises(EnvironmentMismatch, match=rf"\({line}: recorded 'another', here"):
        verify(replace(forgot, trace=log), stay, task)


def test_the_recorded_number_of_threads_is_used_whatever_is_set_here(
    forgot: Trained, stay: Records, task: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []

    def carried_out(sent: Path) -> tuple[Any, float]:
        answer = fresh._carried_out(take(sent))
        used.append(torch.get_num_threads())
        return answer, 0.0

    monkeypatch.setattr(verifier, "carry_out_fresh", carried_out)
    torch.set_num_threads(2)
    try:
        assert verify(forgot, stay, task).equal
    finally:
        torch.set_num_threads(1)
    assert used == [1]


@pytest.mark.usefixtures("untrained")
def test_weights_made_by_an_empirical_method_are_refused(
    taught: Trained, people: Records, forget_ids: Records, task: Language
) -> None:
    since = Edited(taught.trace).without(record.id for record in forget_ids)
    with pytest.raises(InputError, match="2 records were forgotten by an empirical method"):
        verify(replace(taught, trace=since), people, task)


@pytest.mark.usefixtures("untrained")
def test_a_model_without_a_trace_is_refused(taught: Trained, people: Records, task: Any) -> None:
    with pytest.raises(InputError, match="nothing is known of how the model was trained"):
        verify(Trained.untraced(taught.model), people, task)


@pytest.mark.usefixtures("untrained")
def test_weights_that_are_not_those_of_the_digest_are_refused(
    taught: Trained, people: Records, task: Language, gpt2: Any
) -> None:
    with pytest.raises(StateError, match="weights were changed since it was made"):
        verify(replace(taught, model=gpt2), people, task)


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda stay: stay[1:], "1 of the 10 records that run holds were not given"),
        (lambda stay: (replace(stay[0], completion="Elsewhere"), *stay[1:]), "word for word"),
    ],
)
def test_other_records_are_refused(
    forgot: Trained, stay: Records, task: Language, change: Callable[[Records], Records], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        verify(forgot, change(stay), task)


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("change", ["template", "separator", "vocabulary"])
def test_another_way_to_read_the_same_records_is_refused(
    forgot: Trained, stay: Records, change: str
) -> None:
    tokenizer = tiny_tokenizer()
    if change == "template":
        tokenizer.chat_template = "Be brief.{% for m in messages %}{{ m['content'] }}{% endfor %}"
    elif change == "vocabulary":
        tokenizer.add_tokens([stay[0].completion[:2]])
    task = Language(tokenizer, separator=" ? " if change == "separator" else " ")
    with pytest.raises(InputError, match="other tokens"):
        verify(forgot, stay, task)


@pytest.mark.usefixtures("untrained")
def test_no_worker_at_all_is_refused(forgot: Trained, stay: Records, task: Language) -> None:
    with pytest.raises(InputError, match="workers must be at least 1, got 0"):
        verify(forgot, stay, task, workers=0)


def child(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr(fresh, "_CHILD", "\n".join(("import os, pickle, sys", *lines)))


def test_an_error_of_the_fresh_process_is_raised_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    child(
        monkeypatch,
        "from olvido.errors import EnvironmentMismatch",
        "pickle.dump(EnvironmentMismatch('blas differs'), open(sys.argv[2], 'wb'))",
    )
    with pytest.raises(EnvironmentMismatch, match=r"^blas differs$"):
        carry_out_fresh(tmp_path / "run.sent")


def test_a_fresh_process_that_dies_is_named_with_its_last_word(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    child(monkeypatch, "sys.exit('no memory is left')")
    with pytest.raises(StateError, match=r"for run ended with status 1 \(no memory is left\)"):
        carry_out_fresh(tmp_path / "run.sent")


def test_a_fresh_process_is_alone_in_a_folder_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    child(
        monkeypatch,
        "pickle.dump((dict(os.environ), os.getcwd(), sys.stdin.read()), open(sys.argv[2], 'wb'))",
    )
    (environment, folder, read), seconds = carry_out_fresh(tmp_path / "run.sent")
    assert not {"WORLD_SIZE", "ACCELERATE_MIXED_PRECISION"} & set(environment)
    assert environment["PATH"] == os.environ["PATH"]
    assert (Path(folder), read) == (tmp_path, "")
    assert seconds > 0


def test_nothing_to_compare_but_another_model_is_not_equal() -> None:
    assert Verified((), "sha256:a", "sha256:a", 0, 0).equal
    assert not Verified((), "sha256:a", "sha256:b", 0, 0).equal
