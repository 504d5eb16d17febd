"""Draws against the probabilities they are drawn with, and against other company."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from olvido.curvature import drawn_targets


def test_classes_come_as_often_as_the_model_says() -> None:
    shares, count = torch.tensor([0.05, 0.3, 0.0, 0.65]), 20_000
    ids = [str(n) for n in range(count)]
    found = drawn_targets(shares.log().expand(count, 4), ids, torch.arange(count), "a")
    seen = torch.bincount(found, minlength=4) / count
    spread = (shares * (1 - shares) / count).sqrt()
    assert ((seen - shares).abs() <= 4 * spread).all()
    again = drawn_targets(shares.log().expand(count, 4), ids, torch.arange(count), "b")
    # Two draws agree no more often than chance has it.
    assert float((found == again).float().mean()) == pytest.approx(
        float(shares.square().sum()), abs=0.02
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_a_record_draws_the_same_in_any_company(counts: list[int]) -> None:
    ids = [f"record {n}" for n in range(len(counts))]
    logits = torch.randn(sum(counts), 7, generator=torch.Generator().manual_seed(sum(counts)))
    rows = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    together = drawn_targets(logits, ids, rows, "a").split(counts)
    for name, alone, found in zip(ids, logits.split(counts), together, strict=True):
        own = drawn_targets(alone, [name], torch.zeros(len(alone), dtype=torch.long), "a")
        assert torch.equal(own, found)
