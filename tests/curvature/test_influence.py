"""Influence against leaving each record out and training again."""

import numpy as np
import pytest
import torch
from tests.curvature.convex import optimum
from tests.curvature.worlds import World, softmax

from olvido.curvature import (
    PerRecord,
    conjugate_gradients,
    fit_ekfac,
    gauss_newton,
    influence,
    influences,
    products,
    query_gradients,
)


@pytest.mark.slow
def test_scores_are_what_leaving_a_record_out_does() -> None:
    world = softmax(count=155)
    records, queries = world.records[:150], world.records[150:]
    model = optimum(world, records)
    batch = world.task.collate(queries)

    @torch.no_grad()
    def asked(model: torch.nn.Module) -> torch.Tensor:
        return world.task.losses(model, batch)

    left = range(0, 150, 5)
    truth = torch.stack(
        [asked(optimum(world, records[:i] + records[i + 1 :])) - asked(model) for i in left],
        dim=1,
    ).numpy()
    fitted = fit_ekfac(model, records, world.task)
    found = influences(model, records, queries, world.task, fitted, damping=0.01).numpy()
    wanted = query_gradients(model, queries, world.task)
    product = gauss_newton(model, records, world.task)
    exact = np.stack(
        [
            products(
                model,
                records,
                {
                    name: part.unsqueeze(0)
                    for name, part in conjugate_gradients(
                        product, {n: q[i] for n, q in wanted.items()}, ridge=1e-4
                    ).items()
                },
                world.task,
            )[0].numpy()
            for i in range(len(queries))
        ]
    ) / len(records)
    for row, whole, true in zip(found[:, ::5], exact[:, ::5], truth, strict=True):
        assert np.corrcoef(whole, true)[0, 1] > 0.97
        assert np.corrcoef(row, true)[0, 1] > 0.8
        # Of the same size, not only in the same order.
        assert np.polyfit(whole, true, 1)[0] == pytest.approx(1.0, abs=0.3)


def test_thin_queries_give_the_same_scores(
    worlds: dict[str, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = worlds["llama"]
    wanted = query_gradients(world.model, world.records[:2], world.task)
    whole = products(world.model, world.records, wanted, world.task)
    per_record = PerRecord(world.model, world.task)
    dense = [per_record(world.task.collate([r])).total() for r in world.records]
    for q in range(2):
        for i, row in enumerate(dense):
            expected = sum(float((row[name] * wanted[name][q]).sum()) for name in row)
            assert float(whole[q, i]) == pytest.approx(expected, rel=1e-3, abs=1e-4)
    asked: list[bool] = []
    real = influence._Query._low_rank

    def seen(self: influence._Query, high: int, wide: int) -> object:
        found = real(self, high, wide)
        asked.append(found is not None)
        return found

    monkeypatch.setattr(influence, "RANK", 12)
    monkeypatch.setattr(influence, "LOST", 0.01)
    monkeypatch.setattr(influence._Query, "_low_rank", seen)
    one = {name: part[:1] for name, part in wanted.items()}
    thin = products(world.model, world.records, one, world.task)
    assert any(asked)
    torch.testing.assert_close(thin, whole[:1], rtol=0.02, atol=0.02 * float(whole.abs().max()))
