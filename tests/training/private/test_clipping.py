"""A private step is the clipped sum of its units' gradients, as plain derivatives give it."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from tests.training.private.frauds import without_the_tied_part
from torch import Tensor, nn

from olvido.errors import InputError
from olvido.learners import Lora, Recipe
from olvido.tasks import Example, Labels, Language, examples
from olvido.training.loop import Loop
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
    assert clipped > 0, "no unit was clipped"
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
        {"id": str(n), "input": torch.randn(SHAPE).numpy(), "label": "abc"[n % 3]} for n in range(9)
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


def test_a_long_text_is_read_in_windows_by_itself(people: list[Unit], tokenizer: Any) -> None:
    task = Language(tokenizer, max_tokens=12)
    texts = [" ".join(r.prompt for r in unit) for unit in people[1:]]
    rows = examples({"text": text} for text in texts)
    assert max(map(task.width, rows)) > 24
    model = llama(tokenizer)
    part = gradients(model, task)
    units: list[Unit] = [rows[:1], rows[1:]]
    assert apart(stepped(model, part, units), by_hand(model, task, units)) < 1e-5


def test_one_update_whatever_is_in_memory(people: list[Unit], task: Language, gpt2: Any) -> None:
    """A unit of five records that pass two by two is clipped once, as a whole."""
    found = []
    for most in (1, 2, 3, 5, 64):
        model = copy.deepcopy(gpt2)
        recipe = Recipe(batch_size=4, optimizer="sgd", lr=1.0, beta1=0.0, clip=1e-9, warmup=0.0)
        part = gradients(model, task, most=most, noise=0.5, expected=3.0)
        loop = Loop(model, recipe, total=2, seed=0, gradients=part)
        for dropout in model.modules():
            if isinstance(dropout, nn.Dropout):
                dropout.p = 0.0
        for step in range(2):
            loop.step(step, part.passes(people))
        found.append([p.detach() for p in model.parameters()])
    before = torch.cat([p.detach().flatten() for p in gpt2.parameters()])
    assert float((torch.cat([p.flatten() for p in found[0]]) - before).norm()) > 0.1
    for other in found[1:]:
        assert apart(other, found[0]) < 1e-6


def test_a_dropped_out_step_adds_noise_and_counts(gpt2: Any, task: Language) -> None:
    model = copy.deepcopy(gpt2)
    part = gradients(model, task, noise=2.0, expected=5.0)
    loop = Loop(model, Recipe(), total=2, seed=0, gradients=part)
    before = [p.detach().clone() for p in model.parameters()]
    assert loop.step(0, part.passes([])) == 0.0
    assert all(not torch.equal(b, p) for b, p in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("quantile", [0.2, 0.8])
def test_the_clipping_bound_follows_its_quantile(quantile: float) -> None:
    model, rows = NETWORKS["linear"](), pictures()
    task = Labels.made(None, {"task": "labels"}, rows)
    units: list[Unit] = [(row,) for row in rows]
    # With hardly any noise, counts are right; the sums are noised by so much more than asked.
    part = gradients(model, task, quantile=quantile, expected=len(rows), clip=9.0, noise=1e-3)
    for _ in range(60):
        stepped(model, part, units)
    norms = []
    for (row,) in units:
        loss = task.losses(model, task.collate([row])).sum()
        each = torch.autograd.grad(loss, list(model.parameters()))
        norms.append(float(torch.cat([g.flatten() for g in each]).norm()))
    share = sum(norm <= part.clip for norm in norms) / len(norms)
    assert abs(share - quantile) < 0.25
    assert part.clip != 9.0


class Mixing(nn.Module):
    """Looks at the other rows of its batch."""

    def forward(self, given: Tensor) -> Tensor:
        return given - given.mean(0)


def test_records_that_see_each_other_are_refused() -> None:
    rows = pictures()
    task = Labels.made(None, {"task": "labels"}, rows)
    model = classifier(nn.Flatten(), Mixing(), nn.Linear(72, 3))
    with pytest.raises(InputError, match="changes with the records beside it"):
        gradients(model, task).prove([rows[:2], rows[2:3]])


class MixingLater(Mixing):
    """Mixes records in training alone."""

    def forward(self, given: Tensor) -> Tensor:
        return super().forward(given) if self.training else given


def test_records_that_see_each_other_in_training_alone_are_refused() -> None:
    rows = pictures()
    task = Labels.made(None, {"task": "labels"}, rows)
    model = classifier(nn.Flatten(), MixingLater(), nn.Dropout(0.5), nn.Linear(72, 3))
    with pytest.raises(InputError, match="changes with the records beside it"):
        gradients(model, task).prove([rows[:2], rows[2:3]])


@pytest.mark.parametrize("ruled", [True, False])
def test_a_running_mean_of_records_is_refused(ruled: bool) -> None:
    """It would be published as it is, without clipping and noise."""
    rows = pictures()
    task = Labels.made(None, {"task": "labels"}, rows)
    last: list[nn.Module] = [nn.Linear(72, 3)] if ruled else [nn.Linear(72, 3), Scaled(3)]
    norm = nn.InstanceNorm2d(2, track_running_stats=True)
    model = classifier(norm, nn.Flatten(), *last)
    with pytest.raises(InputError, match="running"):
        gradients(model, task).prove([rows[:2], rows[2:3]])


class Outside(nn.Module):
    """Uses a layer's weight without the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(72, 72), nn.Linear(72, 3)

    def forward(self, given: Tensor) -> Tensor:
        given = given.flatten(1)
        return self.head(self.layer(given) @ self.layer.weight)


def test_a_weight_used_outside_of_its_layer_is_noticed() -> None:
    rows = pictures()
    task = Labels.made(None, {"task": "labels"}, rows)
    model = classifier(Outside())
    part = gradients(model, task)
    units: list[Unit] = [rows[:2], rows[2:3], rows[3:7]]
    assert part.prove(units) == "a weight is used outside of its layer"
    assert apart(stepped(model, part, units), by_hand(model, task, units)) < 1e-5


def test_a_wrong_rule_is_noticed_before_the_first_step(
    gpt2: Any, task: Language, people: list[Unit], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_the_tied_part(monkeypatch)
    model = copy.deepcopy(gpt2)
    part = gradients(model, task)
    assert part.prove(people[:2]) is not None
    assert apart(stepped(model, part, people), by_hand(model, task, people)) < 1e-5
