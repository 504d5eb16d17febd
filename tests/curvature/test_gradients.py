"""Per-record gradients against autograd, one record at a time."""

from dataclasses import replace

import pytest
import torch
from tests.curvature.worlds import Unruly, World
from torch import Tensor, nn

from olvido.curvature import PerRecord
from olvido.curvature import layers as factored
from olvido.errors import InputError
from olvido.tasks import Labels

ATTENTION = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")


def one_by_one(world: World) -> tuple[list[str], dict[str, Tensor]]:
    """Every record's gradient as autograd gives it for that record alone. [B, *shape] by name"""
    names = [n for n, p in world.model.named_parameters() if p.requires_grad]
    parameters = [p for p in world.model.parameters() if p.requires_grad]
    rows = []
    for record in world.records:
        loss = world.task.losses(world.model, world.task.collate([record])).sum()
        rows.append(torch.autograd.grad(loss, parameters, materialize_grads=True))
    columns = [torch.stack(column) for column in zip(*rows, strict=True)]
    return names, dict(zip(names, columns, strict=True))


def flat(parts: dict[str, Tensor]) -> Tensor:
    return torch.cat([part.flatten(1) for part in parts.values()], dim=1)


def test_every_record_gets_the_gradient_that_autograd_gives_it_alone(world: World) -> None:
    names, expected = one_by_one(world)
    batch = world.task.collate(world.records)
    per_record = PerRecord(world.model, world.task)
    for _ in range(2):  # The first batch is also the one on which the rules are held to account.
        found = per_record(batch)
        assert list(found.parts) == names
        assert found.ids == tuple(record.id for record in world.records)
        torch.testing.assert_close(found.losses, world.task.losses(world.model, batch).detach())
        for name in names:
            torch.testing.assert_close(
                found.parts[name].dense(), expected[name], rtol=1e-3, atol=1e-5, msg=name
            )


def test_what_is_said_of_gradients_without_writing_them_out_is_true_of_them(world: World) -> None:
    _, expected = one_by_one(world)
    found = PerRecord(world.model, world.task)(world.task.collate(world.records))
    torch.testing.assert_close(found.norms(), flat(expected).norm(dim=1), rtol=1e-3, atol=1e-5)
    weights = torch.linspace(-1, 2, len(world.records))
    for name, total in found.total(weights).items():
        dense, part = expected[name], found.parts[name]
        whole = torch.tensordot(weights, dense, dims=1)
        torch.testing.assert_close(total, whole, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(part.squares(), dense.square().sum(0), rtol=1e-3, atol=1e-6)
        queries = torch.randn(3, *dense.shape[1:], generator=torch.Generator().manual_seed(0))
        inner = dense.flatten(1) @ queries.flatten(1).T
        torch.testing.assert_close(part.dots(queries), inner, rtol=1e-3, atol=1e-4)
        if part.uses:
            left, right = (
                torch.randn(3, part.uses[0].width, 2),
                torch.randn(3, dense[0].numel() // part.uses[0].width, 2),
            )
            low = (left @ right.transpose(1, 2)).flatten(1)
            inner = dense.flatten(1) @ low.T
            torch.testing.assert_close(part.low_rank_dots(left, right), inner, rtol=1e-3, atol=1e-4)


def test_the_rules_cover_what_they_are_for(world: World) -> None:
    per_record = PerRecord(world.model, world.task)
    per_record(world.task.collate(world.records))
    expected = {"scale", *(f"attention.{n}" for n in ATTENTION), "twice.weight", "twice.bias"}
    assert per_record.uncovered == (expected if isinstance(world.model, Unruly) else set())


@pytest.mark.parametrize("rule", ["ghost", "written out"])
def test_norms_are_the_same_by_either_rule(
    worlds: dict[str, World], monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    longer = rule == "written out"
    monkeypatch.setattr(factored.Factored, "is_longer_than_large", lambda self: longer)
    world = worlds["llama"]
    _, expected = one_by_one(world)
    found = PerRecord(world.model, world.task)(world.task.collate(world.records))
    for name, part in found.parts.items():
        torch.testing.assert_close(
            part.norms(), expected[name].flatten(1).square().sum(1), rtol=1e-3, atol=1e-8, msg=name
        )


def test_large_models_need_no_more_memory_at_a_time(
    worlds: dict[str, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = worlds["llama"]
    part = PerRecord(world.model, world.task)(world.task.collate(world.records)).parts
    whole = {name: one.squares() for name, one in part.items()}
    monkeypatch.setattr(factored, "CHUNK_BYTES", 1)
    assert all(len(chunk) == 1 for one in part.values() if one.uses for chunk in one.chunks())
    for name, one in part.items():
        torch.testing.assert_close(one.squares(), whole[name])


def test_the_model_is_left_as_it_was(worlds: dict[str, World]) -> None:
    world = worlds["convolutions"]
    world.model.train()
    world.model.head.eval()
    state = {name: value.clone() for name, value in world.model.state_dict().items()}
    PerRecord(world.model, world.task)(world.task.collate(world.records))
    assert world.model.training
    assert not world.model.head.training
    world.model.eval()
    assert all(torch.equal(value, state[n]) for n, value in world.model.state_dict().items())
    assert all(p.grad is None for p in world.model.parameters())
    layers = list(world.model.modules())
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers)


def test_frozen_parameters_are_left_out(worlds: dict[str, World]) -> None:
    found = PerRecord(worlds["lora"].model, worlds["lora"].task)
    assert found.parameters
    assert all("lora_" in name for name in found.parameters)
    still = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(InputError, match="no parameter of the model requires a gradient"):
        PerRecord(still, Labels(2))


def test_drawn_targets_give_the_curvature_in_expectation(worlds: dict[str, World]) -> None:
    # Of softmax regression the Gauss-Newton matrix of one record is (diag(p) - pp') x xx'.
    world = worlds["softmax"]
    record = world.records[0]
    batch = world.task.collate([replace(record, id=f"{n}") for n in range(16000)])
    x = batch.inputs[0]
    with torch.no_grad():
        p = world.model(x).softmax(-1)
    expected = torch.outer(p * (1 - p), x.square())
    found = PerRecord(world.model, world.task)(batch, sampled="0").parts["weight"].squares() / 16000
    torch.testing.assert_close(found, expected, rtol=0.06, atol=1e-4)


def test_drawn_targets_of_a_long_answer_weigh_as_the_mean_does(worlds: dict[str, World]) -> None:
    # Independent targets: the expected square is the mean over targets, not its T-th part.
    world = worlds["llama"]
    long = max(world.records, key=lambda r: len(world.task.encode(r)[1]))  # type: ignore[attr-defined]
    batch = world.task.collate([replace(long, id=f"{n}") for n in range(8)])
    per_record, draw = PerRecord(world.model, world.task), torch.Generator().manual_seed(0)
    name = "model.norm.weight"
    found = (
        sum(per_record(batch, sampled=f"{n}").parts[name].squares().sum() / 8 for n in range(40))
        / 40
    )
    logits, _, _ = world.task.answer_logits(world.model, world.task.collate([long]))
    expected, weight = 0.0, dict(world.model.named_parameters())[name]
    for row in logits:
        shares = row.detach().softmax(-1)
        # E|g|^2 = sum over targets y of p(y) |J'(p - y)|^2, by a few draws as well.
        drawn = torch.multinomial(shares, 60, replacement=True, generator=draw)
        for y in drawn:
            (g,) = torch.autograd.grad(-row.log_softmax(-1)[y], weight, retain_graph=True)
            expected += float(g.square().sum()) / 60
    assert float(found) == pytest.approx(expected / len(logits), rel=0.15)
