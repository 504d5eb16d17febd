"""A private step is the clipped sum of its units' gradients, as plain derivatives give it."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from olvido.errors import InputError
from olvido.learners import Lora, Recipe
from olvido.tasks import Example, Labels, Language, Task, examples
from olvido.training.loop import Loop
from olvido.training.private import clipping
from olvido.training.private.clipping import Clipped, Unit
from olvido.training.private.sampling import Secret
from olvido.training.recipe import attach

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

CLIP = 0.3
"""Short enough that some units are clipped, and long enough that some are not (asserted)."""


class Scaled(nn.Module):
    """A layer for which nobody has a rule."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(size))

    def forward(self, given: Tensor) -> Tensor:
        return given * self.scale.tanh()


def gradients(model: Any, task: Any, **options: Any) -> Clipped:
    about: dict[str, Any] = {"clip": CLIP, "noise": 1e-12, "expected": 1.0, "most": 64}
    return Clipped(model, task, secret=Secret(0), **{**about, **options})


def stepped(model: Any, part: Clipped, units: Sequence[Unit]) -> list[Tensor]:
    """The gradient of one step of the loop, which the optimizer would follow."""
    model = part.model
    for compute in part.passes(units):
        loss = part.loss(compute)
        part.add(loss)
    part.finish(0.0)
    found = [p.grad.clone() for p in model.parameters() if p.requires_grad]
    model.zero_grad()
    return found


def by_hand(model: Any, task: Any, units: Sequence[Unit], clip: float = CLIP) -> list[Tensor]:
    """The clipped sum by plain derivatives, one record at a time."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    total = [torch.zeros_like(p) for p in parameters]
    clipped = 0
    for unit in units:
        mean = [torch.zeros_like(p) for p in parameters]
        for record in unit:
            (loss,) = task.losses(model, task.collate([record]))
            each = torch.autograd.grad(loss, parameters, allow_unused=True)
            for m, g in zip(mean, each, strict=True):
                m += 0 if g is None else g / len(unit)
        norm = torch.stack([m.norm() for m in mean]).norm()
        clipped += bool(norm > clip)
        for t, m in zip(total, mean, strict=True):
            t += m * min(1.0, clip / float(norm))
    assert 0 < clipped, "no unit was clipped"
    return total


def apart(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """The largest difference, as a share of the whole length."""
    flat = [torch.cat([t.flatten() for t in some]) for some in (one, other)]
    return float((flat[0] - flat[1]).norm() / flat[1].norm())


def llama(tokenizer: Any, **options: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    about = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), **about, **heads, **options)
    return LlamaForCausalLM(config).eval()


def classifier(*layers: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for layer in layers:
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    return nn.Sequential(*layers).eval()


SHAPE = 2, 6, 6
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: classifier(nn.Flatten(), nn.Linear(72, 9), nn.Tanh(), nn.Linear(9, 3)),
    "convolution": lambda: classifier(
        nn.Conv2d(2, 4, 3, stride=2, padding=1),
        nn.GroupNorm(2, 4),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 3, 2, bias=False),
        nn.Flatten(),
        nn.Linear(12, 3),
    ),
    "sequence": lambda: classifier(
        nn.Flatten(2),
        nn.Conv1d(2, 5, 4, dilation=2, padding=1),
        nn.LayerNorm(32),
        nn.Flatten(),
        nn.Linear(160, 3),
    ),
    "grouped": lambda: classifier(
        nn.Conv2d(2, 4, 3, groups=2), nn.Flatten(), nn.Linear(64, 3, bias=False)
    ),
    "unknown": lambda: classifier(nn.Flatten(), nn.Linear(72, 9), Scaled(9), nn.Linear(9, 3)),
    "shared": lambda: (lambda one: classifier(nn.Flatten(), nn.Linear(72, 9), one, nn.Tanh(), one,
                                              nn.Linear(9, 3)))(nn.Linear(9, 9)),
}  # fmt: skip


def pictures() -> tuple[Example, ...]:
    torch.manual_seed(1)
    return examples(
        {"id": str(n), "input": torch.randn(SHAPE).numpy(), "label": "abc"[n % 3]}
        for n in range(9)
    )


@pytest.fixture
def people(few: tuple[Example, ...]) -> list[Unit]:
    """Units of one, three, two and five records."""
    return [few[:1], few[1:4], few[4:6], few[6:11]]


@pytest.mark.parametrize("most", [1, 2, 4, 64])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str, most: int) -> None:
    model, rows = NETWORKS[name](), pictures()
    task = Labels.made(None, {"task": "labels"}, rows)
    units: list[Unit] = [rows[:1], rows[1:2], rows[2:5], rows[5:9]]
    part = gradients(model, task, most=most)
    assert part.prove([rows[:2], rows[2:3]]) is None or name in ("grouped", "unknown")
    assert part.one_pass == (name not in ("grouped", "unknown"))
    assert apart(stepped(model, part, units), by_hand(model, task, units)) < 1e-5
    assert apart(stepped(model, part, units[:2]), by_hand(model, task, units[:2])) < 1e-5


@pytest.fixture(params=["gpt2", "gpt2 tied", "llama", "llama tied", "lora", "gpt2 lora"])
def language_model(request: pytest.FixtureRequest, gpt2: Any, tokenizer: Any) -> Any:
    name = str(request.param)
    if "gpt2" in name:
        model = copy.deepcopy(gpt2)
    else:
        model = llama(tokenizer, tie_word_embeddings="tied" in name)
    if "lora" in name:
        model = attach(model, Lora(rank=3), seed=0)
        for parameter in model.parameters():
            # Half of an adapter begins at zero, where the other half has no gradient.
            if parameter.requires_grad:
                nn.init.normal_(parameter, std=0.1)
    return model.eval()


@pytest.mark.parametrize("most", [2, 64])
def test_language_models(
    language_model: Any, people: list[Unit], task: Language, most: int
) -> None:
    part = gradients(language_model, task, most=most)
    assert part.prove(people[:2]) is None
    assert part.one_pass
    expected = by_hand(language_model, task, people)
    assert apart(stepped(language_model, part, people), expected) < 1e-5
