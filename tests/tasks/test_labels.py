"""Arrays with a class: losses by hand, blanks that teach nothing, bad rows named."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from olvido.audits.scoring import ScoredModel
from olvido.errors import InputError
from olvido.learners import Recipe, train
from olvido.methods import forget
from olvido.tasks import Example, Labels, examples

CLASSES = ("cat", "dog", "bird")
DRAW = np.random.default_rng(0)
ROWS = [
    {"id": f"r{i}", "input": DRAW.normal(size=(2, 3)) + 2 * (i % 3), "label": CLASSES[i % 3]}
    for i in range(12)
]
RECORDS = examples(ROWS)


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


@pytest.fixture
def task() -> Labels:
    return Labels(CLASSES)


def loss_by_hand(model: nn.Module, array: Any, place: int) -> float:
    """In float64, one record alone, from the module's weights."""
    w1, b1, w2, b2 = (p.detach().double().numpy() for p in model.parameters())
    scores = w2 @ np.maximum(w1 @ np.asarray(array, dtype=float).reshape(-1) + b1, 0) + b2
    return float(np.log(np.exp(scores).sum()) - scores[place])


def test_losses_are_those_of_each_record_alone(model: nn.Module, task: Labels) -> None:
    batch = task.collate(RECORDS)
    found = task.losses(model, batch).tolist()
    expected = [loss_by_hand(model, row["input"], i % 3) for i, row in enumerate(ROWS)]
    assert found == pytest.approx(expected, abs=1e-5)
    log_p, count = task.log_probs(model, batch)
    assert (-log_p).tolist() == pytest.approx(expected, abs=1e-5)
    assert count.tolist() == [1.0] * len(ROWS)
    logits, targets, rows = task.answer_logits(model, batch)
    assert torch.equal(logits, task.logits(model, batch))
    assert targets.tolist() == [i % 3 for i in range(12)]
    assert rows.tolist() == list(range(12))


def test_bytes_become_shares_of_255_and_nothing_else_is_scaled() -> None:
    image = np.array([[0, 51], [102, 255]], dtype=np.uint8)
    (as_bytes,) = examples([{"input": image, "label": 0}])
    (as_numbers,) = examples([{"input": image.astype(int), "label": 0}])
    scaled, plain = Labels(2).collate([as_bytes]).inputs, Labels(2).collate([as_numbers]).inputs
    assert scaled.dtype == plain.dtype == torch.float32
    torch.testing.assert_close(scaled, torch.tensor([[[0.0, 0.2], [0.4, 1.0]]]))
    assert plain.tolist() == [image.tolist()]
    with pytest.raises(InputError, match=r"is int64 and those before it are uint8"):
        Labels(2).collate([as_bytes, as_numbers])


@given(
    chosen=st.lists(st.integers(0, 11), min_size=1, max_size=6, unique=True),
    size=st.integers(1, 4),
)
def test_no_record_s_input_depends_on_the_others(chosen: list[int], size: int) -> None:
    task = Labels(CLASSES)
    batches = list(task.batches([RECORDS[i] for i in chosen], size))
    assert [i for batch in batches for i in batch.ids] == [f"r{i}" for i in chosen]
    assert all(batch.cost == len(batch.ids) <= size for batch in batches)
    inputs = torch.cat([batch.inputs for batch in batches])
    for row, i in zip(inputs, chosen, strict=True):
        assert torch.equal(row, torch.tensor(ROWS[i]["input"], dtype=torch.float32))


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_a_blank_is_zeros_of_the_first_class_and_moves_no_other_row(
    model: nn.Module, dtype: Any
) -> None:
    records = examples([{"input": np.full((2, 3), i, dtype), "label": "dog"} for i in (1, 2)])
    task = Labels(CLASSES)
    batch = task.collate([records[0], None, records[1]], width=1)
    assert batch.ids == (records[0].id, "", records[1].id)
    assert not batch.inputs[1].any()
    assert batch.targets.tolist() == [1, 0, 1]
    kept = task.losses(model, batch)[[0, 2]]
    assert kept.tolist() == pytest.approx(task.losses(model, task.collate(records)).tolist())


def test_an_empty_place_weighs_nothing_in_the_gradient(model: nn.Module, task: Labels) -> None:
    weights = torch.tensor([1.0, 0.0, 1.0])
    (task.losses(model, task.collate([RECORDS[0], None, RECORDS[1]])) * weights).sum().backward()
    with_blank = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    task.losses(model, task.collate(RECORDS[:2])).sum().backward()
    plain = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(plain) == 4
    for one, other in zip(with_blank, plain, strict=True):
        torch.testing.assert_close(one, other)


def test_blanks_alone_need_a_shape(task: Labels) -> None:
    with pytest.raises(InputError, match="give Labels a shape"):
        task.collate([None])
    task.width(RECORDS[0])
    assert task.collate([None, None]).inputs.shape == (2, 2, 3)
    shaped = Labels(2, shape=[4])
    assert shaped.collate([None]).inputs.tolist() == [[0.0] * 4]
    # A blank says nothing of whether records will be bytes.
    image = np.full(4, 255, np.uint8)
    assert shaped.collate(examples([{"input": image, "label": 1}])).inputs.tolist() == [[1.0] * 4]


def test_an_array_is_the_same_record_in_whatever_it_came() -> None:
    numbers = [[0.5, 1.0], [2.0, -3.0]]
    array = np.array(numbers)
    forms = [
        numbers,
        array,
        array.astype(">f8"),
        np.asfortranarray(array),
        torch.tensor(numbers, dtype=torch.float64, requires_grad=True),
    ]
    read = [examples([{"input": form, "label": 1}])[0] for form in forms]
    assert len({Labels(2).content(example) for example in read}) == 1
    assert len({example.id for example in read}) == 1
    (short,) = examples([{"input": torch.tensor(numbers, dtype=torch.bfloat16), "label": "1"}])
    assert Labels(2).collate([short]).inputs.tolist() == [numbers]


def test_content_is_what_a_record_teaches_and_nothing_more() -> None:
    def content(id: str = "a", input: Any = (1.0, 2.0), label: Any = 0, **more: Any) -> bytes:
        return Labels(12).content(examples([{"id": id, "input": input, "label": label, **more}])[0])

    assert content() == content(id="b", topic="other")
    others = [
        content(label=1),
        content(input=(2.0, 1.0)),
        content(input=((1.0, 2.0),)),
        content(input=np.array([1, 2], dtype=np.float32)),
    ]
    assert len({content(), *others}) == 5


def test_an_example_takes_nothing_from_an_array_that_changes_later() -> None:
    array = np.zeros(3)
    (example,) = examples([{"input": array, "label": 0}])
    array[0] = 7
    assert not example.fields["input"].any()
    with pytest.raises(ValueError, match="read-only"):
        example.fields["input"][0] = 1


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"input": [1.0, 2.0]}, "or 'input' and 'label'; got ['input']"),
        ({"input": [[1.0], [1.0, 2.0]], "label": 0}, "'input' is ragged"),
        ({"input": [1.0, float("nan")], "label": 0}, "holds nan, inf"),
        ({"input": [1.0, float("-inf")], "label": 0}, "holds nan, inf"),
        ({"input": [1.0, 1e39], "label": 0}, "beyond float32"),
        ({"input": [0, 2**24 + 1], "label": 0}, "float32 cannot tell apart"),
        ({"input": np.array([-(2**63)]), "label": 0}, "float32 cannot tell apart"),
        ({"input": [1.0, None], "label": 0}, "must hold numbers"),
        ({"input": ["a", "b"], "label": 0}, "must hold numbers"),
        ({"input": [1j, 2], "label": 0}, "must hold numbers"),
        ({"input": [], "label": 0}, "'input' is empty (shape (0,))"),
        ({"input": [1.0, 2.0, 3.0], "label": 0}, "has the shape (3,), those before it (2,)"),
        ({"input": [1.0, 2.0], "label": 0.5}, "'label' must be text or a whole number, got float"),
        ({"input": [1.0, 2.0], "label": True}, "'label' must be text or a whole number, got bool"),
        ({"input": [1.0, 2.0], "label": None}, "'messages', or 'input' and 'label'; got ['input']"),
        ({"input": [1.0, 2.0], "label": " "}, "'label' is empty"),
        ({"input": [1.0, 2.0], "label": 0, "id": 7.5}, "'id' must be text or a whole number"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(row: Any, complaint: str) -> None:
    with pytest.raises(InputError) as caught:
        examples([{"input": [0.0, 0.0], "label": 0}, row], "retain")
    message = str(caught.value)
    assert message.startswith("retain[1]: ")
    assert complaint in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        (Example("x", "", "fish", RECORDS[0].fields), "'fish', which is none of the 3 classes"),
        (Example("x", "", "cat"), "'x' holds no array"),
        (Example("x", "", "cat", {"input": np.zeros(5)}), r"the shape \(5,\), expected \(2, 3\)"),
    ],
)
def test_a_record_the_task_cannot_use_is_named(record: Example, complaint: str) -> None:
    task = Labels(CLASSES, shape=(2, 3))
    for ask in (task.width, task.content, lambda one: task.collate([one])):
        with pytest.raises(InputError, match=complaint):
            ask(record)


@pytest.mark.parametrize("classes", [1, ["one"], "abc", ["a", "b", "a"], [1, "1"]])
def test_classes_are_two_or_more_with_distinct_names(classes: Any) -> None:
    with pytest.raises(InputError, match="class"):
        Labels(classes)


@pytest.mark.parametrize("module", [nn.Linear(3, 3), nn.Flatten(), nn.LSTM(3, 3)])
def test_a_module_that_gives_no_score_a_class_is_refused(module: nn.Module, task: Labels) -> None:
    with pytest.raises(InputError, match="change its last layer"):
        task.losses(module, task.collate(RECORDS))


def colour(mode: str) -> Any:
    """A picture of 4 by 4 in red, in one of the modes of Pillow."""
    return Image.new("RGB", (4, 4), (255, 0, 0)).convert(mode)


@pytest.mark.parametrize(
    ("picture", "channels", "first"),
    [
        (colour("RGB"), 3, 1.0),
        (colour("L"), 1, 76 / 255),
        (colour("P"), 3, 1.0),
        (colour("PA"), 4, 1.0),
        (colour("LA"), 2, 76 / 255),
        (colour("RGBA"), 4, 1.0),
        (colour("CMYK"), 4, 0.0),
        (colour("1").point(lambda _: 1), 1, 1.0),
        (colour("F"), 1, 76.245),
        (np.full((3, 4, 4), 65535, np.uint16), 3, 65535.0),
        (np.ones((3, 4, 4), bool), 3, 1.0),
        (torch.full((3, 4, 4), 255, dtype=torch.uint8), 3, 1.0),
        (torch.ones(3, 4, 4).to(torch.float8_e4m3fn), 3, 1.0),
        (np.asfortranarray(np.ones((3, 4, 4), ">i2")), 3, 1.0),
    ],
)
def test_a_picture_of_any_form_has_its_channels_first_and_its_own_colours(
    picture: Any, channels: int, first: float
) -> None:
    inputs = Labels(2).collate(examples([{"input": picture, "label": 0}])).inputs
    assert inputs.shape == (1, channels, 4, 4)
    assert inputs[0, 0].unique().tolist() == pytest.approx([first], abs=1e-3)


@pytest.mark.parametrize(
    "form",
    [
        torch.eye(3).to_sparse(),
        torch.zeros(3, dtype=torch.cfloat).conj(),
        torch.zeros(3, device="meta"),
        np.ma.array([1.0, 2.0], mask=[False, True]),
        np.array([1, 2], dtype=object),
        np.array(["2026-01-01"], dtype="datetime64[D]"),
        [10**40, 1],
        "picture.png",
        b"PNG",
    ],
    ids=lambda form: type(form).__name__,
)
def test_what_holds_no_plain_numbers_is_refused_in_a_line(form: Any) -> None:
    with pytest.raises(InputError, match="'input'") as caught:
        examples([{"input": form, "label": 0}])
    assert "\n" not in str(caught.value)


PLAIN = {
    "channels last": lambda: [np.zeros((4, 4, 3), np.uint8)],
    "grey": lambda: [colour("L")],
    "grey beside colour": lambda: [colour("RGB"), colour("L")],
    "transparent": lambda: [colour("RGBA")],
    "another size": lambda: [colour("RGB"), colour("RGB").resize((5, 4))],
    "bytes beside numbers": lambda: [colour("RGB"), np.zeros((3, 4, 4))],
}


@pytest.mark.parametrize("kind", PLAIN)
def test_a_picture_that_the_module_cannot_take_is_refused(kind: str) -> None:
    module, task = nn.Sequential(nn.Conv2d(3, 2, 4), nn.Flatten()), Labels(2)
    with pytest.raises(InputError):
        task.losses(
            module, task.collate(examples([{"input": p, "label": 0} for p in PLAIN[kind]()]))
        )


def normalising(middle: nn.Module, *, picture: bool = False) -> nn.Module:
    if picture:
        return nn.Sequential(nn.Conv2d(3, 4, 2), middle, nn.Flatten(), nn.Linear(4, 3))
    return nn.Sequential(nn.Linear(3, 4), middle, nn.Linear(4, 3))


NORMALISING = {
    "one dimension": (nn.BatchNorm1d(4), False),
    "inside another": (nn.Sequential(nn.ReLU(), nn.Sequential(nn.BatchNorm1d(4))), False),
    "two dimensions of one number": (nn.BatchNorm2d(4), True),
    "over processes": (nn.SyncBatchNorm(4), False),
}
NORMALISED_BY_NOTHING = {
    "no running statistics": (nn.BatchNorm2d(4, track_running_stats=False), True),
    "each picture by itself": (nn.InstanceNorm2d(4), True),
}


def alone(picture: bool) -> tuple[Example, ...]:
    """Five records, of which the last stands alone in batches of four."""
    shape = (3, 2, 2) if picture else (3,)
    return examples([{"input": DRAW.normal(size=shape), "label": i % 3} for i in range(5)])


@pytest.mark.parametrize("kind", NORMALISING)
@pytest.mark.parametrize("training", [True, False])
def test_a_last_batch_of_one_is_learned_from_and_forgotten(kind: str, training: bool) -> None:
    middle, picture = NORMALISING[kind]
    module, records = normalising(copy.deepcopy(middle), picture=picture), alone(picture)
    module.train(training)
    task, recipe = Labels(3), Recipe(epochs=1, batch_size=4, lr=1e-3)
    assert task.hidden(module, task.collate(records[-1:]), 1).isfinite().all()
    assert module.training == module[1].training == training
    trained = train(module, task=task, records=records, recipe=recipe)
    some = {"forget": records[:1], "retain": records[1:], "batch_size": 4, "epochs": 2, "lr": 0.05}
    outcome = forget(trained.model.train(training), task=task, method="ascent", **some)
    assert task.losses(outcome.model, task.collate(records[-1:])).isfinite().all()


@pytest.mark.parametrize("kind", NORMALISED_BY_NOTHING)
def test_what_cannot_normalise_one_record_alone_is_refused_in_a_line(kind: str) -> None:
    middle, picture = NORMALISED_BY_NOTHING[kind]
    module, records, task = normalising(middle, picture=picture), alone(picture), Labels(3)
    for ask in (task.losses, lambda m, batch: task.hidden(m, batch, 1)):
        with pytest.raises(InputError):
            ask(module, task.collate(records[-1:]))


def test_hidden_states_are_those_of_the_named_children(model: nn.Module, task: Labels) -> None:
    batch = task.collate(RECORDS)
    flat, wide, folded, last = (task.hidden(model, batch, layer) for layer in range(4))
    assert torch.equal(flat, batch.inputs.flatten(1))
    assert torch.equal(folded, wide.relu())
    assert torch.equal(last, task.logits(model, batch))
    with pytest.raises(InputError, match=r"4 named children \(0 to 3\)"):
        task.hidden(model, batch, 4)
    unused = nn.Sequential(*model.children())
    unused.forward = model.forward  # type: ignore[method-assign]
    unused.insert(0, nn.Identity())
    with pytest.raises(InputError, match="child '0' gave 0 outputs"):
        task.hidden(unused, batch, 0)


def test_a_module_learns_answers_and_is_audited_by_name(model: nn.Module, task: Labels) -> None:
    trained = train(model, records=ROWS, task=task, recipe=Recipe(epochs=60, batch_size=4, lr=2e-2))
    scored = ScoredModel(trained.model, task)
    assert scored.answers(RECORDS) == [CLASSES[i % 3] for i in range(12)]
    scores = scored.scores(RECORDS)
    assert all(score.exact and score.tokens == 1 for score in scores)
    # Each record its own score, though four of them share a label and none has a prompt.
    expected = [-loss_by_hand(trained.model, row["input"], i % 3) for i, row in enumerate(ROWS)]
    assert [score.log_p for score in scores] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("regulariser", ["nll", "kl"])
def test_methods_that_descend_know_nothing_of_tokens(
    model: nn.Module, task: Labels, regulariser: str
) -> None:
    recipe = Recipe(epochs=40, batch_size=4, lr=2e-2)
    trained = train(model, records=ROWS, task=task, recipe=recipe)
    gone, kept = RECORDS[:2], RECORDS[2:]
    outcome = forget(
        trained,
        task=task,
        forget=gone,
        retain=kept,
        method="npo",
        regulariser=regulariser,
        target=1.0,
    )
    before, after = (
        task.losses(m, task.collate(gone)).mean().item() for m in (trained.model, outcome.model)
    )
    assert after > before
