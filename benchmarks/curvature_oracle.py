"""The curvature here and in curvlinops, entry by entry, on a small network.

    pip install --no-deps --target build/curvlinops curvlinops-for-pytorch backpack-for-pytorch \\
        unfoldNd einops einconv opt_einsum linear_operator jaxtyping wadler_lindig
    export PYTHONPATH=build/curvlinops
    python benchmarks/curvature_oracle.py --out docs/results/influence.json

Gauss-Newton products are compared as they are. Curvlinops works EK-FAC out over all classes; here
targets are drawn, so that each record is measured under many ids, each of which draws anew.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

import harness
from olvido.curvature import fit_ekfac, gauss_newton
from olvido.tasks import Labels, examples

RECORDS, CLASSES = 40, 4


def main() -> None:
    """Compare, and add a row."""
    parser = harness.arguments(__doc__)
    parser.add_argument("--copies", type=int, default=500)
    args = harness.parsed(parser)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        # It compiles a part that it does not use here, in a way that torch gives up.
        warnings.simplefilter("ignore", DeprecationWarning)
        from curvlinops import EKFACLinearOperator, GGNLinearOperator
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, CLASSES)).eval()
    inputs = torch.randn(RECORDS, 6) * torch.logspace(-0.5, 0.5, 6)
    labels = torch.randint(CLASSES, (RECORDS,))
    rows = zip(inputs, labels.tolist(), strict=True)
    records = examples({"input": x.numpy(), "label": y} for x, y in rows)
    task = Labels(CLASSES)
    parameters = dict(model.named_parameters())
    given: Any = (model, nn.CrossEntropyLoss(), list(parameters.values()), [(inputs, labels)])

    product = gauss_newton(model, records, task)
    own = torch.stack([_flat(product(cut)) for cut in _units(parameters)])
    whole = GGNLinearOperator(*given) @ torch.eye(len(own))

    copies = [
        replace(record, id=f"{record.id}/{n}") for record in records for n in range(args.copies)
    ]
    fitted = fit_ekfac(model, copies, task, batch_size=500)
    theirs = EKFACLinearOperator(*given, fisher_type="type-2")
    dense = theirs @ torch.eye(len(own))
    gaps, start = {}, 0
    for name, parameter in parameters.items():
        block = fitted.blocks[name]
        left = torch.eye(block.values.shape[0]) if block.left is None else block.left.float()
        basis = left if block.right is None else torch.kron(left, block.right.float())
        mine = basis @ block.values.flatten().diag() @ basis.T
        end = start + parameter.numel()
        gaps[name] = _gap(mine, dense[start:end, start:end])
        start = end
    found = {
        "gauss-newton": _gap(own, whole),
        "ekfac": gaps,
        "copies": args.copies,
        "expected of the draws": (RECORDS * args.copies) ** -0.5,
    }
    print(json.dumps(found, indent=1))
    if args.out:
        about = harness.read(args.out).get("about", {})
        harness.add(args.out, "about", about | {harness.command(): harness.header()})
        harness.add(args.out, "oracle/curvlinops", {"found": found})


def _units(parameters: dict[str, nn.Parameter]) -> list[dict[str, Tensor]]:
    sizes = [p.numel() for p in parameters.values()]
    return [
        {
            name: part.reshape(p.shape)
            for (name, p), part in zip(parameters.items(), unit.split(sizes), strict=True)
        }
        for unit in torch.eye(sum(sizes))
    ]


def _flat(parts: dict[str, Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts.values()])


def _gap(mine: Tensor, theirs: Tensor) -> float:
    """Length of the difference, as a share."""
    return float((mine - theirs).norm() / theirs.norm())


if __name__ == "__main__":
    main()
