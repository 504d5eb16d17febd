"""A routed model answers as its modules would, one by one, and parts with each without a trace."""

import copy
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from olvido.errors import InputError, StateError, UnknownName
from olvido.models import load, save, weights_digest
from olvido.models.adapter import Adapter
from olvido.models.routed import Routed
from olvido.models.router import RoutedQuestion, Router
from olvido.models.tiny import tiny_model
from olvido.tasks import Example, Language
from olvido.tasks.batches import Batch
from olvido.training.recipe import Lora

STRANGER = RoutedQuestion("stranger", "Is it raining in Paris today?", "")


@pytest.fixture(scope="module")
def folder(routed: Routed, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "routed"
    save(routed, tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def alone(fresh: Any, folder: Path) -> dict[str, Any]:
    """Each module as PEFT itself reads it from its folder, and the base under no name."""
    models = {
        f"module-{i}": peft.PeftModel.from_pretrained(
            copy.deepcopy(fresh), folder / "modules" / f"module-{i}"
        ).eval()
        for i in range(3)
    }
    return {**models, "": fresh}


@pytest.fixture(scope="module")
def asked(rows: list[RoutedQuestion]) -> list[RoutedQuestion]:
    """Questions for every module and for the base, mixed."""
    return [rows[0], STRANGER, rows[40], rows[-1], rows[7]]


@pytest.fixture(scope="module")
def records(asked: list[RoutedQuestion]) -> list[Example]:
    return [Example(row.id, row.question, "Carrer de Princesa 12") for row in asked]


def logits_alone(alone: dict[str, Any], asked: list[RoutedQuestion], batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat(
            [
                alone[row.module](
                    input_ids=batch.input_ids[i : i + 1],
                    attention_mask=batch.attention_mask[i : i + 1],
                ).logits
                for i, row in enumerate(asked)
            ]
        )


def test_a_mixed_batch_gets_what_each_module_gives_alone(
    routed: Routed,
    alone: dict[str, Any],
    asked: list[RoutedQuestion],
    records: list[Example],
    task: Language,
) -> None:
    batch = task.collate(records)
    expected = logits_alone(alone, asked, batch)
    there = batch.attention_mask.bool()
    with torch.no_grad():
        out = routed(batch.input_ids, batch.attention_mask, labels=batch.targets)
        assert torch.allclose(out.logits[there], expected[there], atol=1e-4)
        assert torch.allclose(task.logits(routed, batch)[there], expected[there], atol=1e-4)
        hidden = task.hidden(routed, batch, layer=2)
        assert torch.allclose(
            routed.get_output_embeddings()(hidden)[there], expected[there], atol=1e-4
        )
        # It is a test of routing only if the modules differ.
        base = alone[""](batch.input_ids, batch.attention_mask).logits
    assert (base[there] - expected[there]).abs().max() > 0.1


def test_body_and_head_apart_give_the_losses_of_the_whole(
    routed: Routed,
    alone: dict[str, Any],
    asked: list[RoutedQuestion],
    records: list[Example],
    task: Language,
) -> None:
    batch = task.collate(records)
    expected = torch.stack(
        [
            task.losses(alone[row.module], task.collate([record]))[0]
            for row, record in zip(asked, records, strict=True)
        ]
    )
    assert torch.allclose(task.losses(routed, batch), expected, atol=1e-4)
    assert task._may_split_head(routed, batch)


@pytest.mark.slow
def test_a_mixed_batch_is_continued_as_each_module_would_alone(
    routed: Routed,
    alone: dict[str, Any],
    asked: list[RoutedQuestion],
    records: list[Example],
    task: Language,
) -> None:
    expected = [
        task.generate(alone[row.module], [record])[0]
        for row, record in zip(asked, records, strict=True)
    ]
    assert task.generate(routed, records) == expected
    assert len(set(expected)) > 2


def left_padded(task: Language, questions: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    prompts = [task.encode_prompt(question) for question in questions]
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    return ids, mask


@pytest.mark.parametrize(
    "how",
    [
        {"do_sample": False},
        {"do_sample": False, "num_beams": 3},
        {"do_sample": False, "num_beams": 4, "num_return_sequences": 2},
        {"do_sample": True, "num_return_sequences": 3, "top_k": 1},
    ],
)
def test_generate_finds_the_question_behind_padding_and_under_beams(
    routed: Routed,
    alone: dict[str, Any],
    asked: list[RoutedQuestion],
    task: Language,
    how: dict[str, Any],
) -> None:
    more = {"max_new_tokens": 6, "min_new_tokens": 6, "pad_token_id": 0, **how}
    ids, mask = left_padded(task, [row.question for row in asked])
    out = routed.generate(ids, attention_mask=mask, **more)[:, ids.shape[1] :]
    expected = []
    for row in asked:
        prompt, there = left_padded(task, [row.question])
        given = {"input_ids": prompt, "attention_mask": there}
        expected.append(alone[row.module].generate(**given, **more)[:, prompt.shape[1] :])
    assert torch.equal(out, torch.cat(expected))


def test_without_labels_a_question_ends_with_its_question_mark(
    routed: Routed, rows: list[RoutedQuestion], task: Language
) -> None:
    row = next(row for row in rows if row.question.endswith("?"))
    ids = torch.tensor([task.encode_prompt(f"{row.question} It is written somewhere else.")])
    pinned = [task.encode_prompt(row.question)]
    with torch.no_grad():
        found = routed(ids).logits
        with routed.asking(pinned) as routes:
            assert routes == [row.module]
            assert torch.equal(routed(ids).logits, found)
        # Labels over all of the text tell nothing about where a question ends.
        assert torch.equal(routed(ids, labels=ids).logits, found)


def test_pinned_routes_hold_whatever_the_text_says_and_only_within(
    routed: Routed, asked: list[RoutedQuestion], task: Language
) -> None:
    ids = torch.tensor([task.encode_prompt(STRANGER.question)])
    with torch.no_grad():
        plain = routed(ids).logits
        with routed.asking([task.encode_prompt(asked[0].question)]):
            sent = routed(ids).logits
            with routed.asking([task.encode_prompt(asked[2].question)]):
                other = routed(ids).logits
            assert torch.equal(routed(ids).logits, sent)
        assert torch.equal(routed(ids).logits, plain)
    assert not torch.allclose(sent, plain, atol=0.1)
    assert not torch.allclose(sent, other, atol=0.1)


def test_an_error_within_unpins(
    routed: Routed, asked: list[RoutedQuestion], task: Language
) -> None:
    prompt = task.encode_prompt(asked[0].question)
    with torch.no_grad():
        before = routed(torch.tensor([prompt])).logits
        with pytest.raises(InputError, match="3 rows came"), routed.asking([prompt] * 2):
            routed(torch.tensor([prompt] * 3))
        assert torch.equal(routed(torch.tensor([prompt])).logits, before)


def test_gradients_reach_the_module_that_was_asked_and_no_other(
    routed: Routed, asked: list[RoutedQuestion], records: list[Example], task: Language
) -> None:
    task.losses(routed, task.collate(records[:1])).sum().backward()
    touched = {
        name.split(".")[-2]
        for name, p in routed.named_parameters()
        if "lora_" in name and p.grad is not None and bool(p.grad.any())
    }
    routed.zero_grad()
    assert touched == {asked[0].module}


def test_nothing_that_was_given_changes(
    fresh: Any,
    empty: Routed,
    routed: Routed,
    adapters: dict[str, Adapter],
    rows: list[RoutedQuestion],
) -> None:
    before = [weights_digest(m) for m in (fresh, empty, routed)]
    state = torch.get_rng_state()
    smaller = routed.without_module("module-1")
    smaller.with_module(
        "module-9", adapters["module-1"], [RoutedQuestion("x", "Who is X?", "module-9")]
    )
    routed.without_records([rows[0].id])
    assert [weights_digest(m) for m in (fresh, empty, routed)] == before
    assert torch.equal(torch.get_rng_state(), state)
    assert not hasattr(fresh, "peft_config")


def test_what_was_frozen_or_trainable_stays_so(
    tokenizer: Any, empty: Routed, adapters: dict[str, Adapter], fresh: Any
) -> None:
    base = copy.deepcopy(fresh).requires_grad_(True)
    base.get_input_embeddings().requires_grad_(False)
    before = {name: p.requires_grad for name, p in base.named_parameters()}
    Routed(base, tokenizer, router=Router("ngrams"), template=empty.template, adapters=adapters)
    assert {name: p.requires_grad for name, p in base.named_parameters()} == before


def test_the_base_is_shared_and_not_copied(fresh: Any, routed: Routed) -> None:
    ours = {p.data_ptr() for p in routed.without_module("module-0").parameters()}
    assert {p.data_ptr() for p in fresh.parameters()} <= ours


def test_a_module_that_left_had_never_been(
    empty: Routed, routed: Routed, adapters: dict[str, Adapter], rows: list[RoutedQuestion]
) -> None:
    left = routed.without_module("module-1")
    kept = {name: a for name, a in reversed(adapters.items()) if name != "module-1"}
    never = empty.with_modules(kept, [row for row in reversed(rows) if row.module != "module-1"])
    assert weights_digest(left) == weights_digest(never) != weights_digest(routed)
    gone = [row.question for row in rows if row.module == "module-1"]
    assert "module-1" not in left.router.route(gone)
    assert left.module_names == ["module-0", "module-2"]


def test_without_any_module_it_is_the_base_again(
    empty: Routed, routed: Routed, fresh: Any, asked: list[RoutedQuestion], task: Language
) -> None:
    left = routed
    for name in routed.module_names:
        left = left.without_module(name)
    assert weights_digest(left) == weights_digest(empty)
    ids = torch.tensor([task.encode_prompt(asked[0].question)])
    with torch.no_grad():
        assert torch.equal(left(ids).logits, fresh(ids).logits)


def test_records_leave_the_router_and_their_module_stays(
    empty: Routed, routed: Routed, adapters: dict[str, Adapter], rows: list[RoutedQuestion]
) -> None:
    gone = {row.id for row in rows[:5]}
    left = routed.without_records(gone)
    never = empty.with_modules(adapters, [row for row in rows if row.id not in gone])
    assert weights_digest(left) == weights_digest(never)
    assert left.module_names == routed.module_names


def test_of_twenty_modules_one_leaves_at_once(empty: Routed, adapters: dict[str, Adapter]) -> None:
    many = {f"module-{i:02d}": adapters[f"module-{i % 3}"] for i in range(20)}
    full = empty.with_modules(
        many, [RoutedQuestion(name, f"Who is {name}?", name) for name in many]
    )
    began = time.process_time()
    full.without_module("module-07")
    assert time.process_time() - began < 0.5


def test_a_saved_model_comes_back_the_same(
    folder: Path, routed: Routed, asked: list[RoutedQuestion], task: Language
) -> None:
    again = load(folder)
    assert isinstance(again.model, Routed)
    assert again.digest == weights_digest(routed)
    ids, mask = left_padded(task, [row.question for row in asked])
    with torch.no_grad():
        assert torch.equal(again.model(ids, mask).logits, routed(ids, mask).logits)
    assert again.tokenizer("Marta lives")["input_ids"] == task.tokenizer("Marta lives")["input_ids"]


def test_half_precision(
    folder: Path, routed: Routed, asked: list[RoutedQuestion], task: Language
) -> None:
    half = load(folder, dtype="bfloat16").model
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    ids, mask = left_padded(task, [row.question for row in asked])
    with torch.no_grad():
        near = torch.cosine_similarity(half(ids, mask).logits.float(), routed(ids, mask).logits, -1)
    assert near[mask.bool()].min() > 0.99


def test_it_shows_what_a_hugging_face_model_shows(routed: Routed, fresh: Any) -> None:
    assert routed.config.hidden_size == fresh.config.hidden_size
    assert routed.generation_config.to_dict() == fresh.generation_config.to_dict()
    assert routed.device == fresh.device
    assert routed.train().training
    assert not any(child.training for child in routed.model.modules())
    assert not routed.eval().training


@pytest.mark.parametrize("name", ["module", "Module-1", "module-", "keys", "a/b-c", "a.b-c", ""])
def test_a_name_that_would_not_do(empty: Routed, adapters: dict[str, Adapter], name: str) -> None:
    with pytest.raises(InputError, match="such as module-003"):
        empty.with_module(name, adapters["module-0"], [])


def test_what_does_not_fit(
    empty: Routed,
    routed: Routed,
    adapters: dict[str, Adapter],
    rows: list[RoutedQuestion],
    gpt2: Any,
) -> None:
    one = adapters["module-0"]
    key = min(one.state)
    with pytest.raises(InputError, match="module-0 already"):
        routed.with_module("module-0", one, [])
    with pytest.raises(InputError, match="should have shape"):
        empty.with_module("a-1", Adapter(one.config, {**one.state, key: torch.zeros(1, 1)}), [])
    fewer = {k: v for k, v in one.state.items() if k != key}
    with pytest.raises(InputError, match="got nothing"):
        empty.with_module("a-1", Adapter(one.config, fewer), [])
    with pytest.raises(InputError, match="has no zzz"):
        empty.with_module("a-1", Adapter(one.config, {**one.state, "zzz": torch.zeros(1)}), [])
    with pytest.raises(InputError, match="use_dora"):
        empty.with_module("a-1", Adapter({**one.config, "use_dora": True}, one.state), [])
    with pytest.raises(InputError, match="does not fit"):
        empty.with_module("a-1", Adapter({**one.config, "target_modules": ["q"]}, one.state), [])
    with pytest.raises(InputError, match="module-0, which is not there"):
        empty.with_modules({}, rows)
    with pytest.raises(UnknownName, match="did you mean 'module-0'"):
        routed.without_module("module-00")


def test_where_no_question_can_be_seen(routed: Routed, task: Language) -> None:
    ids = torch.tensor([task.encode_prompt("Who?")])
    with pytest.raises(InputError, match="asking"):
        routed(inputs_embeds=routed.get_input_embeddings()(ids))
    first = routed(ids, use_cache=True)
    with pytest.raises(InputError, match="asking"):
        routed(ids[:, -1:], past_key_values=first.past_key_values)


def without_a_module(folder: Path) -> None:
    shutil.rmtree(folder / "modules" / "module-1")


def without_a_matrix(folder: Path) -> None:
    path = folder / "modules" / "module-1" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def without_the_base(folder: Path) -> None:
    shutil.rmtree(folder / "base")


def without_the_router(folder: Path) -> None:
    (folder / "router.safetensors").unlink()


def with_broken_list(folder: Path) -> None:
    (folder / "routed.json").write_text("{")


def with_shorter_list(folder: Path) -> None:
    path = folder / "routed.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "modules": document["modules"][1:]}))


@pytest.mark.parametrize(
    "spoil",
    [
        without_a_module,
        without_a_matrix,
        without_the_base,
        without_the_router,
        with_broken_list,
        with_shorter_list,
    ],
)
def test_a_folder_that_holds_half_of_it_is_refused_in_one_line(
    folder: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    shutil.copytree(folder, tmp_path / "spoilt")
    spoil(tmp_path / "spoilt")
    with pytest.raises(InputError) as caught:
        load(tmp_path / "spoilt")
    assert "\n" not in str(caught.value)


def test_a_later_format_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "later")
    path = tmp_path / "later" / "routed.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    with pytest.raises(StateError, match="format 2"):
        load(tmp_path / "later")


def test_an_adapter_moves_up_to_the_top_of_a_deeper_model(
    fresh: Any, tokenizer: Any, empty: Routed, random_adapter: Any
) -> None:
    low = random_adapter(fresh, 0, Lora(rank=4, top_layers=1))
    deep = tiny_model(len(tokenizer), seed=1, width=64, layers=4)
    high = low.renumbered(2)
    moved = Routed(
        deep, tokenizer, router=Router("ngrams"), template=empty.template, adapters={"a-0": high}
    )
    paths = {n for n, _ in moved.named_parameters() if "lora_" in n}
    assert paths
    assert all(".layers.3." in path for path in paths)
    assert high.config["layers_to_transform"] == [3]
