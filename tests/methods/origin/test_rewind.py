"""What only the forget set reads of each matrix goes back to the base."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from olvido.errors import InputError, NothingChanged
from olvido.learners import Declared, Lora, Recipe, Trained, train
from olvido.learners.parts import itself
from olvido.methods import METHODS, Split, forget, predict
from olvido.methods.gradient.answers import shared_weights_copy
from olvido.methods.origin.moments import Reader, moments, readers
from olvido.methods.origin.rewind import RIDGE, Rewind, rewound
from olvido.methods.origin.weights import origin_for
from olvido.models import weights_digest
from olvido.tasks import Example, Labels, Language
from olvido.tasks.generation import shared_tokens
from olvido.training.recipe import attach
from olvido.training.traces.steps import Origin


@pytest.fixture(scope="module")
def known(brief: Trained, part: Split) -> Split:
    return replace(part, origin=origin_for(brief, None, {record.id for record in part.forget}))


def test_it_is_the_minimum_of_both_distances() -> None:
    """Brute force: least squares over retained inputs, forgotten ones, and the ridge."""
    draw = torch.Generator().manual_seed(0)
    kept, gone, change = (
        torch.randn(*shape, generator=draw, dtype=torch.float64)
        for shape in ((40, 6), (3, 6), (4, 6))
    )
    second = kept.T @ kept / 40
    ridge = RIDGE * second.trace() / 6
    for mu in (0.3, 20.0):
        weighed = [kept / 40**0.5, ridge.sqrt() * torch.eye(6).double(), (mu / 3) ** 0.5 * gone]
        wanted = [weighed[0] @ change.T, weighed[1] @ change.T, torch.zeros(3, 4)]
        inputs, outputs = torch.cat(weighed), torch.cat([one.double() for one in wanted])
        expected = torch.linalg.lstsq(inputs, outputs).solution.T
        for turned in (False, True):
            reader = Reader(_none, width=6, turned=turned)
            given = change.T if turned else change
            off = rewound(given, second, gone.T @ gone / 3, reader)
            found = given - off(mu)
            assert torch.allclose(found.T if turned else found, expected, atol=1e-10)


def _none(layer: Any, given: Tensor, mask: Tensor | None) -> Tensor:
    return given


def _linear(rows: int, *, seed: int) -> torch.nn.Linear:
    torch.manual_seed(seed)
    return torch.nn.Linear(rows, 2)


def _record(name: str, row: Any, answer: str) -> Example:
    given = np.asarray(row, dtype=np.float32)
    return Example(name, "", answer, {"input": given, "subject": name})


def test_of_orthogonal_inputs_each_side_gets_its_own_model() -> None:
    """As mu grows, the forgotten outputs are the base's and the retained ones the original's."""
    base, original = _linear(4, seed=1), _linear(4, seed=2)
    with torch.no_grad():
        # What every record reads, the bias, is no part of it.
        original.bias.copy_(base.bias)
    gone = _record("a", [1.0, 2.0, 0.0, 0.0], "yes")
    kept = [_record("b", [-2.0, 1.0, 0.0, 3.0], "no"), _record("c", [0.0, 0.0, 1.0, 0.0], "yes")]
    found = forget(
        original, base=base, forget=[gone], retain=kept, task=Labels(("no", "yes")),
        method="rewind", mu=1e12, steps=0, target=1.0,
    )  # fmt: skip
    with torch.no_grad():
        for record, model in ((gone, base), (kept[0], original), (kept[1], original)):
            row = torch.from_numpy(record.fields["input"])
            assert torch.allclose(found.model(row), model(row), atol=1e-5)


def test_at_nothing_the_weights_are_the_original_ones(
    brief: Trained, known: Split, task: Language
) -> None:
    path, own = Rewind().path(brief, known, task), dict(brief.model.named_parameters())
    there = path.at(0.0)
    assert all(torch.equal(value, own[name]) for name, value in there.items())
    assert {name for name, p in own.items() if p.dim() > 1} == there.keys()
    far = path.at(1e300)
    assert all(bool(torch.isfinite(value).all()) for value in far.values())
    with pytest.raises(NothingChanged):
        forget(
            brief, forget=known.forget, retain=known.retain, task=task,
            method="rewind", mu=0.0, steps=0,
        )  # fmt: skip


def _seen_alone(model: Any, records: tuple[Example, ...], task: Language) -> dict[str, Tensor]:
    """Second moments of each linear layer's inputs, each record read by itself, unpadded."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def look(name: str, _layer: Any, args: Any) -> None:
        rows = args[0].detach().flatten(0, -2).double()
        sums[name] = sums.get(name, torch.zeros(())) + rows.T @ rows
        counts[name] = counts.get(name, 0) + len(rows)

    handles = [
        layer.register_forward_pre_hook(partial(look, f"{name}.weight"))
        for name, layer in model.named_modules()
        if type(layer).__name__ in ("Linear", "Conv1D")
    ]
    for record in records:
        tokens = [token for part in task.encode(record) for token in part]
        model(input_ids=torch.tensor([tokens]))
    for handle in handles:
        handle.remove()
    return {name: total / counts[name] for name, total in sums.items()}


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_inputs_are_those_at_attended_positions_alone(
    fresh: Any, gpt2: Any, part: Split, tokenizer: Any, kind: str
) -> None:
    """Neither padding, the trial of the head, nor what a common beginning spares is counted."""
    model, task = {"llama": fresh, "gpt2": gpt2}[kind], Language(tokenizer)
    model = copy.deepcopy(model).eval()
    begun = " ".join(["the"] * 38)
    alike = [replace(r, id=f"{r.id}+", prompt=f"{begun} {r.prompt}") for r in part.retain[:16]]
    assert shared_tokens(task.collate(alike))
    records = (*part.retain[:16], *alike)
    found = readers(model)
    shared = shared_weights_copy(model, trained=True)
    layers = readers(shared)
    shared.requires_grad_(False)
    seen = moments(shared, records, task, layers, 16)
    alone = _seen_alone(model, records, task)
    body = {name for name in alone if "head" not in name}
    assert body <= found.keys()
    for name in body:
        assert torch.allclose(seen[name], alone[name], rtol=1e-3, atol=1e-5), name
    # Each row of the embeddings has the share of its token, padding and blanks left out.
    tokens = [token for record in records for side in task.encode(record) for token in side]
    name = next(name for name, reader in layers.items() if reader.rows)
    counts = torch.bincount(torch.tensor(tokens), minlength=len(seen[name]))
    assert torch.allclose(seen[name], counts.double() / len(tokens))
    assert not any(p.requires_grad for p in shared.parameters())


def test_patches_are_the_inputs_of_a_convolution() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 3, stride=2, padding=1), torch.nn.Flatten(), torch.nn.Linear(12, 2)
    )
    pictures = np.random.default_rng(0).normal(size=(5, 2, 4, 4)).astype(np.float32)
    rows = tuple(Example(str(i), "", "no", {"input": one}) for i, one in enumerate(pictures))
    found = moments(net, rows, Labels(("no", "yes")), readers(net), 2)["0.weight"]
    padded = np.pad(pictures, ((0, 0), (0, 0), (1, 1), (1, 1)))
    patches = [
        one[:, i : i + 3, j : j + 3].ravel() for one in padded for i in (0, 2) for j in (0, 2)
    ]
    expected = np.mean([np.outer(patch, patch) for patch in patches], axis=0)
    assert np.allclose(found, expected, atol=1e-6)


def test_what_cannot_be_seen_is_refused_before_anything_is_trained() -> None:
    class Attending(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = torch.nn.MultiheadAttention(4, 1, batch_first=True)
            self.head = torch.nn.Linear(4, 2)

        def forward(self, given: Tensor) -> Tensor:
            row = given.unsqueeze(1)
            scores: Tensor = self.head(self.attention(row, row, row)[0][:, 0])
            return scores

    base, original = Attending(), Attending()
    rows = [_record(name, [1.0, 0.0, 0.0, side], "yes") for name, side in (("a", 1), ("b", 2))]
    with pytest.raises(InputError, match=r"inputs of 'attention.in_proj_weight' cannot be seen"):
        forget(
            original, base=base, forget=rows[:1], retain=rows[1:], task=Labels(("no", "yes")),
            method="rewind", target=1.0,
        )  # fmt: skip
    unused = torch.nn.ModuleDict({"head": torch.nn.Linear(4, 2)})
    unused.forward = lambda given: torch.nn.functional.linear(given, unused["head"].weight)  # type: ignore[method-assign]
    with pytest.raises(InputError, match=r"does not call the layer of 'head.weight'"):
        moments(unused, rows, Labels(("no", "yes")), readers(unused), 2)


@pytest.mark.slow
def test_the_least_mu_is_searched_and_priced(brief: Trained, known: Split, task: Language) -> None:
    start = Rewind(target=1.0, steps=0).start(brief, known, task, 0)
    loss = task.losses(start.model, task.collate(known.forget)).mean()
    assert 0.9 < float(loss.detach()) < 1.1
    options = {"steps": 10, "target": 1.0}
    foretold = predict(brief, known, task, method="rewind", options=options)
    found = forget(
        brief, forget=known.forget, retain=known.retain, task=task, method="rewind", **options
    )
    assert foretold.tokens == pytest.approx(found.cost.tokens, rel=0.1)


@pytest.mark.slow
def test_little_memory_takes_more_passes_and_gives_the_same(
    brief: Trained, known: Split, task: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = Rewind(mu=1.0, steps=0)
    once = method.path(brief, known, task).at(1.0)
    cheap = method.start_cost(brief, known, task)
    monkeypatch.setattr("olvido.methods.origin.rewind.MEMORY", 16 * 256**2)
    again = method.path(brief, known, task).at(1.0)
    assert all(torch.equal(value, again[name]) for name, value in once.items())
    assert method.start_cost(brief, known, task) > cheap


@pytest.mark.slow
def test_of_an_adapter_its_second_matrix_is_taken_back(
    fresh: Any, part: Split, task: Language
) -> None:
    """What it adds to its base is rewound along the directions that it reads."""
    from olvido.models.adapter import base_under, is_on_base

    adapter = attach(copy.deepcopy(fresh), Lora(rank=4, alpha=8), seed=0)
    recipe = Recipe(epochs=3, batch_size=15, lr=1e-2)
    records = (*part.forget, *part.retain)
    taught = train(adapter, records=records, task=task, recipe=recipe).model
    model = Trained(taught, weights_digest(taught), Declared(tuple(r.id for r in records)))
    found = forget(
        model, forget=part.forget, retain=part.retain, task=task, method="rewind", mu=1.0, steps=0
    )
    assert is_on_base(found.model)
    assert weights_digest(base_under(found.model)) == weights_digest(fresh)
    assert found.forget_loss[1] > found.forget_loss[0]
    for (name, was), now in zip(taught.named_parameters(), found.model.parameters(), strict=True):
        assert torch.equal(was, now) == ("lora_B" not in name)


def test_a_tied_head_goes_with_the_rows_of_its_embedding(
    fresh: Any, part: Split, task: Language
) -> None:
    tied = copy.deepcopy(fresh)
    tied.get_output_embeddings().weight = tied.get_input_embeddings().weight
    layers = readers(tied)
    (name,) = (name for name, reader in layers.items() if reader.rows)
    assert not any("head" in one for one in layers)
    assert len(layers[name].layers) == 1
    original = copy.deepcopy(tied)
    with torch.no_grad():
        original.get_input_embeddings().weight.add_(1.0)
    trained = Trained.untraced(original)
    split = replace(part, origin=Origin(partial(itself, tied), weights_digest(tied)))
    there = Rewind().path(trained, split, task).at(1e12)[name]
    read = {t for r in part.forget for side in task.encode(r) for t in side}
    base = tied.get_input_embeddings().weight
    for token in range(0, len(base), 7):
        expected = base[token] if token in read else original.get_input_embeddings().weight[token]
        assert torch.allclose(there[token], expected, atol=1e-4)


@pytest.mark.parametrize("mu", [-1.0, float("inf"), float("nan")])
def test_a_mu_that_is_none_is_refused(mu: float) -> None:
    with pytest.raises(InputError, match="mu is a number of 0 or more"):
        METHODS.make("rewind", {"mu": mu})
