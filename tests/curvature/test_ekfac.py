"""EK-FAC against what it stands for, written out."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.curvature.convex import optimum
from tests.curvature.worlds import World, softmax
from torch import Tensor

from olvido.curvature import (
    PerRecord,
    conjugate_gradients,
    ekfac,
    find_ekfac,
    fit_ekfac,
    gauss_newton,
    store_ekfac,
)
from olvido.errors import DigestMismatch, InputError, NotFinite, StateError
from olvido.models import weights_digest
from olvido.tasks import Example


def drawn(world: World, passes: int) -> list[dict[str, Tensor]]:
    """Every record's gradient in each pass of a fit, written out."""
    per_record = PerRecord(world.model, world.task)
    found: list[dict[str, Tensor]] = []
    for draw in ("0/basis", "0/curvature")[:passes]:
        rows = [
            {name: part.dense() for name, part in per_record(batch, sampled=draw).parts.items()}
            for batch in world.task.batches(world.records, ekfac.BATCH)
        ]
        found.append({name: torch.cat([row[name] for row in rows]) for name in rows[0]})
    return found


def test_the_curvature_is_the_mean_square_along_the_basis(world: World) -> None:
    fitted = fit_ekfac(world.model, world.records, world.task)
    _, gradients = drawn(world, 2)
    assert list(fitted.blocks) == list(gradients)
    for name, block in fitted.blocks.items():
        rows = gradients[name].reshape(-1, *block.values.shape)
        for side in (block.left, block.right):
            if side is not None:
                eye = torch.eye(len(side))
                torch.testing.assert_close(side.float().T @ side.float(), eye, atol=2e-3, rtol=0)
        rows = rows if block.left is None else block.left.float().T @ rows
        rows = rows if block.right is None else rows @ block.right.float()
        expected = rows.square().mean(0)
        scale = float(expected.abs().max())
        torch.testing.assert_close(block.values, expected, rtol=2e-3, atol=1e-5 * scale, msg=name)


def test_the_basis_is_of_what_goes_in_and_what_comes_back(worlds: dict[str, World]) -> None:
    world = worlds["softmax"]
    block = fit_ekfac(world.model, world.records, world.task).blocks["weight"]
    inputs = world.task.collate(world.records).inputs
    assert block.left is not None
    assert block.right is not None
    right, left = block.right.float(), block.left.float()
    turned = right.T @ (inputs.T @ inputs) @ right
    torch.testing.assert_close(turned, turned.diagonal().diag(), atol=0.5, rtol=0)
    assert turned.diagonal().max() > 200
    # The bias is the weight of an input that is always 1: its gradient is what comes back.
    back = drawn(world, 1)[0]["bias"]
    turned = left.T @ (back.T @ back) @ left
    torch.testing.assert_close(turned, turned.diagonal().diag(), atol=0.02, rtol=0)
    assert turned.diagonal().max() > 10


def test_a_head_tied_to_its_embedding_is_one_matrix(worlds: dict[str, World]) -> None:
    blocks = fit_ekfac(worlds["llama"].model, worlds["llama"].records, worlds["llama"].task).blocks
    block = blocks["model.embed_tokens.weight"]
    assert block.left is None
    assert block.right is not None
    assert "lm_head.weight" not in blocks
    # Every word is given a chance by the head: no row is without curvature.
    assert (block.values.sum(1) > 0).all()
    lora = fit_ekfac(worlds["lora"].model, worlds["lora"].records, worlds["lora"].task).blocks
    assert all("lora_" in name for name in lora)


@pytest.mark.parametrize("name", ["weight", "first.weight", "norm.weight"])
def test_solving_is_multiplying_by_the_damped_inverse(worlds: dict[str, World], name: str) -> None:
    world = worlds["softmax" if name == "weight" else "convolutions"]
    fitted = fit_ekfac(world.model, world.records, world.task)
    block = fitted.blocks[name]
    shape = dict(world.model.named_parameters())[name].shape
    left = torch.eye(block.values.shape[0]) if block.left is None else block.left.float()
    whole = left if block.right is None else torch.kron(left, block.right.float())
    matrix = whole @ block.values.flatten().diag() @ whole.T
    matrix = matrix + (0.3 * block.values.mean() + 0.02) * torch.eye(len(matrix))
    gradients = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    # Half precision leaves the basis orthogonal to a thousandth, and the inverse with it.
    found = fitted.solve({name: gradients}, damping=0.3, ridge=0.02)[name]
    expected = torch.linalg.solve(matrix, gradients.flatten(1).T).T.reshape(gradients.shape)
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2 * float(expected.abs().max()))
    alone = fitted.solve({name: gradients[1]}, damping=0.3, ridge=0.02)[name]
    torch.testing.assert_close(alone, found[1])
    with pytest.raises(InputError, match="no curvature was fitted for the parameter 'other'"):
        fitted.solve({"other": gradients})


def explicit(world: World) -> tuple[Tensor, Tensor]:
    """The Gauss-Newton matrix as its product gives it, and autograd's Hessian."""
    product = gauss_newton(world.model, world.records, world.task)
    shapes = {name: p.shape for name, p in world.model.named_parameters()}
    sizes = [shape.numel() for shape in shapes.values()]
    rows = []
    for unit in torch.eye(sum(sizes)):
        cut = dict(zip(shapes, unit.split(sizes), strict=True))
        out = product({name: part.reshape(shapes[name]) for name, part in cut.items()})
        rows.append(torch.cat([part.flatten() for part in out.values()]))
    batch = world.task.collate(world.records)

    def loss(flat: Tensor) -> Tensor:
        given = zip(shapes.items(), flat.split(sizes), strict=True)
        state = {name: part.reshape(shape) for (name, shape), part in given}

        def asked(inputs: Tensor) -> Tensor:
            return torch.func.functional_call(world.model, state, (inputs,))

        return world.task.losses(asked, batch).mean()  # type: ignore[arg-type]

    flat = torch.cat([p.detach().flatten() for p in world.model.parameters()])
    return torch.stack(rows), torch.autograd.functional.hessian(loss, flat)


def test_the_gauss_newton_matrix_of_a_convex_loss_is_its_hessian(worlds: dict[str, World]) -> None:
    found, hessian = explicit(worlds["softmax"])
    torch.testing.assert_close(found, hessian, rtol=1e-4, atol=1e-6)


def test_conjugate_gradients_solve_what_they_are_given(worlds: dict[str, World]) -> None:
    world = worlds["softmax"]
    matrix, _ = explicit(world)
    product = gauss_newton(world.model, world.records, world.task)
    shapes = {name: p.shape for name, p in world.model.named_parameters()}
    draw = torch.Generator().manual_seed(3)
    target = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    found = conjugate_gradients(product, target, ridge=0.01)
    flat = torch.cat([part.flatten() for part in target.values()])
    expected = torch.linalg.solve(matrix + 0.01 * torch.eye(len(matrix)), flat)
    whole = torch.cat([part.flatten() for part in found.values()])
    torch.testing.assert_close(whole, expected, rtol=1e-3, atol=1e-3)
    with pytest.raises(NotFinite, match="after 2 steps"):
        conjugate_gradients(product, target, ridge=0.01, iterations=2)


def test_gauss_newton_products_are_those_of_a_language_model(worlds: dict[str, World]) -> None:
    # v'Gv is the expected square of g'v over drawn targets, for any model and any v.
    world = worlds["llama"]
    product = gauss_newton(world.model, world.records[:1], world.task)
    draw = torch.Generator().manual_seed(0)
    v = {name: torch.randn(p.shape, generator=draw) for name, p in world.model.named_parameters()}
    bent = product(v)
    expected = float(sum((bent[name] * v[name]).sum() for name in v))
    per_record, batch = (
        PerRecord(world.model, world.task),
        world.task.collate([replace(world.records[0], id=f"{n}") for n in range(32)]),
    )
    seen = []
    for n in range(12):
        parts = per_record(batch, sampled=f"{n}").parts
        seen.append(sum(parts[name].dots(v[name].unsqueeze(0)) for name in v).square())
    squares = torch.cat(seen)
    spread = float(squares.std() / len(squares) ** 0.5)
    assert abs(float(squares.mean()) - expected) < 4 * spread
    assert spread < 0.2 * expected


def test_it_comes_close_to_the_inverse_of_the_whole_matrix() -> None:
    world = softmax(count=400)
    model = optimum(world, world.records)
    product = gauss_newton(model, world.records, world.task)
    batch = PerRecord(model, world.task)(world.task.collate(world.records[:5])).total()
    exact = conjugate_gradients(product, batch, ridge=0.01)
    fitted = fit_ekfac(model, world.records, world.task).solve(batch, damping=0.0, ridge=0.01)

    def likeness(found: dict[str, Tensor]) -> float:
        one, other = (torch.cat([part.flatten() for part in d.values()]) for d in (found, exact))
        return float(torch.nn.functional.cosine_similarity(one, other, 0))

    assert likeness(fitted) > 0.9
    assert likeness(fitted) > likeness(batch) + 0.1


def test_single_precision_is_left_where_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    covariance = draw @ draw.T
    expected = ekfac._basis(covariance)
    real = torch.linalg.eigh

    def failing(matrix: Tensor) -> object:
        if matrix.dtype == torch.float32:
            raise torch._C._LinAlgError("linalg.eigh: the algorithm failed to converge")
        return real(matrix)

    monkeypatch.setattr(torch.linalg, "eigh", failing)
    found = ekfac._basis(covariance)
    assert found is not None
    assert expected is not None
    assert found.dtype == expected.dtype
    turned = found.float().T @ expected.float()
    torch.testing.assert_close(turned.abs(), torch.eye(6), atol=2e-3, rtol=0)


def test_factors_are_found_again_by_what_determines_them(
    worlds: dict[str, World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = worlds["llama"]
    whole = fit_ekfac(world.model, world.records, world.task)
    # Room for one parameter at a time: the same numbers, in more passes, from disk.
    given = (world.model, world.records, world.task)
    kept = fit_ekfac(*given, folder=tmp_path, memory=1)
    assert len(list((tmp_path / kept.digest).glob("*.safetensors"))) == len(whole.blocks)
    assert kept.digest == whole.digest
    for name, block in whole.blocks.items():
        torch.testing.assert_close(kept.blocks[name].values, block.values, rtol=1e-3, atol=1e-9)

    def fail(*_: object) -> None:
        raise AssertionError("it was measured again")

    monkeypatch.setattr(ekfac, "_fitted", fail)
    again = fit_ekfac(*given, folder=tmp_path)
    assert list(again.blocks) == list(whole.blocks)
    with pytest.raises(AssertionError):
        fit_ekfac(*given, folder=tmp_path, seed=1)
    with pytest.raises(AssertionError):
        fit_ekfac(world.model, world.records[1:], world.task, folder=tmp_path)


def test_what_is_left_is_what_would_have_been_measured(world: World) -> None:
    # In one basis, for a basis moves a little with every record.
    whole = fit_ekfac(world.model, world.records, world.task)
    gone, kept = world.records[:3], world.records[3:]
    left = whole.without(world.model, (*gone, stranger(world)), world.task)
    per_record = PerRecord(world.model, world.task)
    for batch in world.task.batches(kept, 5):  # other batches, the same draws
        for name, part in per_record(batch, sampled="0/curvature").parts.items():
            block = whole.blocks[name]
            left.blocks[name].values.sub_(
                block.rotated(part).squares().reshape(block.values.shape) / len(kept)
            )
    for name, block in left.blocks.items():
        scale = float(whole.blocks[name].values.max())
        assert float(block.values.abs().max()) <= 1e-4 * scale, name
    assert left.without(world.model, gone, world.task) is left
    with pytest.raises(InputError, match="on the records that leave, and no others"):
        whole.without(world.model, world.records, world.task)


def stranger(world: World) -> Example:
    """A record that the curvature was not measured on."""
    if "input" not in world.records[0].fields:
        return replace(world.records[0], id="another", completion="Another.")
    image = world.task.collate(world.records[:1]).inputs[0] + 1.0
    return replace(world.records[0], fields={**world.records[0].fields, "input": image.numpy()})


def test_a_curvature_is_found_by_the_weights_alone(
    worlds: dict[str, World], tmp_path: Path
) -> None:
    world = worlds["softmax"]
    assert find_ekfac(world.model, tmp_path / "nowhere") is None
    few = fit_ekfac(world.model, world.records[:4], world.task, folder=tmp_path)
    more = fit_ekfac(world.model, world.records[:9], world.task, folder=tmp_path)
    found = find_ekfac(world.model, tmp_path)
    assert found is not None
    assert (found.digest, found.records) == (more.digest, more.records)
    other = copy.deepcopy(world.model)
    with torch.no_grad():
        other.weight += 0.1
    assert find_ekfac(other, tmp_path) is None
    few.keep(tmp_path, weights_digest(other))
    few.keep(tmp_path, weights_digest(other))
    heir = find_ekfac(other, tmp_path)
    assert heir is not None
    assert heir.records == few.records
    for name, block in heir.blocks.items():
        torch.testing.assert_close(block.values, few.blocks[name].values, rtol=0, atol=0)


def test_whoever_leaves_finds_a_curvature_that_never_met_them(
    worlds: dict[str, World], tmp_path: Path
) -> None:
    world = worlds["softmax"]
    people = [
        replace(r, fields={**r.fields, "subjects": [f"person {n % 5}"]})
        for n, r in enumerate(world.records)
    ]
    given = (world.model, people, world.task)
    parts = store_ekfac(*given, tmp_path)
    assert len(parts) == 2
    assert not set(parts[0].records) & set(parts[1].records)
    for person in {record.subjects for record in people}:
        leaving = [record for record in people if record.subjects == person]
        found = find_ekfac(world.model, tmp_path, leaving=leaving, task=world.task)
        assert found is not None
        assert found.share(leaving, world.task) == 0.0
        assert found.without(world.model, leaving, world.task) is found
    # Nobody can leave from a part and find that very part.
    every = find_ekfac(world.model, tmp_path, leaving=people, task=world.task)
    assert every is None
    for wrong, words in ((1, "parts must be at least 2"), (200, "give fewer parts")):
        with pytest.raises(InputError, match=words):
            store_ekfac(*given, tmp_path, parts=wrong)


def test_changed_factors_are_refused(worlds: dict[str, World], tmp_path: Path) -> None:
    world = worlds["softmax"]
    given = (world.model, world.records, world.task)
    folder = tmp_path / fit_ekfac(*given, folder=tmp_path).digest
    part = next(folder.glob("*.safetensors"))
    content = bytearray(part.read_bytes())
    content[-1] ^= 1
    part.write_bytes(content)
    with pytest.raises(DigestMismatch):
        fit_ekfac(*given, folder=tmp_path)
    (folder / "index.json").write_text("{")
    with pytest.raises(StateError, match="remove the folder"):
        fit_ekfac(*given, folder=tmp_path)


def test_nothing_comes_of_no_records(worlds: dict[str, World]) -> None:
    world = worlds["softmax"]
    with pytest.raises(InputError, match="no records to measure the curvature on"):
        fit_ekfac(world.model, (), world.task)
    with pytest.raises(InputError, match="one record"):
        gauss_newton(world.model, (), world.task)
