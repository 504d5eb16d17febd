"""Models that were trained outside: entered, asked to forget, audited, certified, and honest."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.outside import begin, train_outside
from tests.sharing import Shared
from transformers import AutoTokenizer

from olvido.accounts import Accounts
from olvido.data.importing import import_rows
from olvido.demo.residents import Town, make_town
from olvido.entering import CALL, Entered, read_recipe
from olvido.entering.mlflow import with_run
from olvido.errors import InputError, MissingNeed, StateError, UnknownName
from olvido.files import read_document
from olvido.learners import LEARNERS, Declared, Edited, Recipe, Trained
from olvido.learners.base import learner_of
from olvido.ledger.facts import DECLARED, WITNESSED, Guarantee, RequestKind
from olvido.ledger.identity import Key
from olvido.ledger.model_documents import model_card
from olvido.ledger.openlineage import openlineage
from olvido.ledger.serving import in_brief
from olvido.ledger.signing import public_file
from olvido.ledger.store import Store
from olvido.methods import METHODS, Split, forget
from olvido.models import load, save
from olvido.models.elsewhere import found_in
from olvido.models.tiny import tiny_tokenizer
from olvido.requests import answer, plan, receive, run
from olvido.requests.certificate import check
from olvido.requests.certificate.limits import DECLARED_LIMIT
from olvido.requests.handlers import approve, identify
from olvido.requests.not_learned import not_learned, plan_destruction
from olvido.requests.planner import routes
from olvido.requests.references import lacking_references, never_trained
from olvido.requests.rights.access import export
from olvido.requests.rights.language import languages
from olvido.requests.rights.letter import letter
from olvido.requests.scope import models_to_delete
from olvido.schemas.options import RunOptions
from olvido.settings import Settings
from olvido.workspace import SERVING, Workspace

EPOCHS = 60
RECIPE = Recipe(epochs=EPOCHS, batch_size=16, lr=3e-3)
HOW = RunOptions(
    method="npo", options={"epochs": 60}, references=3, holdout="outsiders", general="city"
)
CITY = ("city market", "city landmark")
VERIFIER = Path(__file__).parents[2] / "docs" / "verify_certificate.py"


@dataclass(frozen=True)
class Outside:
    """What somebody trained outside: a base, a model, and a model without the data subject."""

    folder: Path
    town: Town

    @property
    def base(self) -> Path:
        return self.folder / "base"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def without(self) -> Path:
        return self.folder / "without"

    def leaving(self) -> list[str]:
        return [row["id"] for row in self.town.rows_of(self.town.data_subject)]


def _town() -> Town:
    return make_town(seed=0, residents=12, outsiders=12, wordings=3)


def _people(town: Town) -> list[dict[str, Any]]:
    return [row for row in town.rows() if "subject" in row]


def _make(folder: Path) -> None:
    town, tokenizer = _town(), tiny_tokenizer()
    begin(folder / "base", "gpt2", tokenizer)
    train_outside(folder / "base", folder / "model", _people(town), tokenizer, epochs=EPOCHS)


def _make_without(folder: Path, outside: Outside) -> None:
    gone = set(outside.leaving())
    rows = [row for row in _people(outside.town) if row["id"] not in gone]
    train_outside(outside.base, folder / "without", rows, tiny_tokenizer(), epochs=10, seed=1)


@pytest.fixture(scope="session")
def outside(shared: Shared) -> Outside:
    """A GPT-2 that somebody trained; nobody may change it."""
    return Outside(shared.folder(_make), _town())


@pytest.fixture(scope="session")
def reference(shared: Shared, outside: Outside) -> Path:
    """A GPT-2 that somebody trained without the data subject."""
    return shared.folder(lambda folder: _make_without(folder, outside)) / "without"


@pytest.fixture(scope="session")
def second() -> ModuleType:
    """The verifier that shares no code with Olvido."""
    spec = importlib.util.spec_from_file_location("verify_certificate", VERIFIER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def workspace_in(folder: Path, town: Town) -> Iterator[Workspace]:
    """A new workspace with the town's data and no model."""
    settings = Settings.load(folder, environment={})
    Store.create(settings.ledger, key=Key.create(settings.key)).close()
    sets = {
        "people": _people(town),
        "city": [row for row in town.rows() if row["topic"] in CITY],
        "outsiders": [row for person in town.outsiders for row in town.rows_of(person)],
    }
    with Workspace(settings) as workspace:
        for name, rows in sets.items():
            import_rows(workspace.store, settings.data, rows, name=name)
        yield workspace


@pytest.fixture
def place(tmp_path: Path, outside: Outside) -> Iterator[Workspace]:
    with workspace_in(tmp_path / "workspace", outside.town) as workspace:
        yield workspace


def entered(workspace: Workspace, outside: Outside, **further: Any) -> Entered:
    """The model with all that can be declared of it; it serves."""
    given = {"base": str(outside.base), "recipe": RECIPE, **further}
    made = workspace.enter(outside.model, learned=["people"], **given)
    workspace.serve(made.model.id)
    return made


def test_what_is_declared_and_what_was_seen_are_told_apart(
    place: Workspace, outside: Outside
) -> None:
    made = entered(place, outside)
    by_name = {one.what: one for one in made.statements}
    assert {by_name[n].basis for n in ("data", "base", "epochs", "lr", "steps")} == {DECLARED}
    assert by_name["steps"].by == "trainer_state.json"
    assert {by_name[n].basis for n in ("weights", "kind", "weights of the base")} == {WITNESSED}
    assert made.warning is None
    assert made.exchange is not None
    assert made.exchange.exchanged > made.exchange.own + 1
    assert any("training_args.bin" in line for line in made.unknown)
    fact = place.store.model(SERVING)
    assert (fact.learner, fact.training, DECLARED in LEARNERS) == (DECLARED, DECLARED, False)
    assert fact.recipe["declared"]["data"] == CALL
    (shown,) = in_brief(place.store, [fact])
    assert (shown["training"], shown["data"][0]["name"]) == (DECLARED, "people")
    assert "declared, not witnessed" in model_card(place.store, fact)
    jobs = [e["job"]["name"] for e in openlineage(place.store, [place.store.dataset("people")])]
    assert "models add" in jobs
    assert place.store.verify_log().sound


def test_what_nobody_said_is_listed(place: Workspace, outside: Outside, tmp_path: Path) -> None:
    copied = shutil.copytree(outside.model, tmp_path / "model")
    card = "---\nbase_model: somebody/base\nlicense: mit\ndatasets: [a/b]\n---\n# A model\n"
    (copied / "README.md").write_text(card)
    made = place.enter(copied, learned=["people"], unknown_data=True)
    by_name = {one.what: one for one in made.statements}
    assert (by_name["base"].value, by_name["base"].by) == ("somebody/base", "README.md")
    assert by_name["licence"].value == "mit"
    assert [line.partition(" ")[0] for line in made.unknown][:2] == ["base", "recipe"]
    assert any(line.startswith("data in part") for line in made.unknown)
    assert made.model.recipe["unknown_data"] is True
    assert "further data" in model_card(place.store, made.model)
    assert place.load(made.model.id).trained.trace.origin is None
    loaded = place.load(made.model.id)
    assert lacking_references(place, loaded, outside.leaving(), count=1) is not None


@pytest.mark.parametrize("front", [b"a: [", b"- a list", b"a: \xff", b"a: !!python/name:os.system"])
def test_a_card_that_cannot_be_read_is_named(tmp_path: Path, front: bytes) -> None:
    (tmp_path / "README.md").write_bytes(b"---\n" + front + b"\n---\n")
    assert found_in(tmp_path).unread.keys() == {"README.md"}


def test_the_trace_is_read_again_and_chains(place: Workspace, outside: Outside) -> None:
    entered(place, outside)
    loaded = place.load(SERVING)
    trace = loaded.trained.trace
    assert isinstance(trace, Declared)
    assert set(trace.present) == {row["id"] for row in _people(outside.town)}
    assert trace.taught == set(trace.present)
    assert trace.origin is not None
    trace.origin.module()
    gone = outside.leaving()
    assert list(trace.hit(gone).values()) == [tuple(gone)]
    with pytest.raises(InputError, match="not among those"):
        trace.hit(["somebody else"])
    with pytest.raises(InputError, match="trained elsewhere"):
        trace.again(gone)
    with pytest.raises(InputError, match="trained elsewhere"):
        learner_of(trace)
    chained = Edited.of(trace).without(gone)
    assert set(chained.present) == set(trace.present) - set(gone)
    assert chained.learner == DECLARED


def test_a_model_that_learned_nothing_of_it_is_entered_with_a_warning(
    place: Workspace, outside: Outside
) -> None:
    made = place.enter(outside.base, learned=["people"])
    assert made.warning is not None
    assert "'people'" in made.warning
    assert place.store.model(made.model.id).id == made.model.id


def test_a_plan_offers_what_applies_and_says_why_the_rest_does_not(
    place: Workspace, outside: Outside
) -> None:
    entered(place, outside)
    request = receive(place, outside.town.data_subject.name, law="gdpr")
    found, choice = plan(place, request.id, how=RunOptions(holdout="outsiders"))
    refused = {route.method: route.refusal for route in found if route.refusal}
    exact = {name for name in METHODS.built_in if METHODS[name].guarantee is Guarantee.EXACT}
    assert exact == refused.keys()
    assert all("this model was trained elsewhere" in str(why) for why in refused.values())
    assert (choice.chosen.training, choice.chosen.lacking) == (DECLARED, None)


def both(envelope: dict[str, Any], workspace: Workspace, second: ModuleType) -> list[str]:
    """Reasons of both verifiers not to believe a certificate."""
    key = workspace.store.signer(workspace.settings.signing_key)
    pem = public_file(workspace.settings.signing_key).read_bytes()
    return [*check(envelope, key.public).reasons, *second.check(envelope, pem)]


@pytest.mark.slow
def test_it_is_forgotten_audited_and_certified(
    outside: Outside, tmp_path: Path, second: ModuleType
) -> None:
    with workspace_in(tmp_path / "workspace", outside.town) as place:
        before = entered(place, outside).model
        request = receive(place, outside.town.data_subject.name, law="gdpr")
        done = run(place, request.id, how=HOW)
        assert {one.fact.training for one in done.references} == {WITNESSED}
        assert done.document["training"] == DECLARED
        assert DECLARED_LIMIT in done.document["does_not_prove"]
        (attempt,) = done.attempts
        assert attempt.report is not None
        assert {one.standing.value for one in attempt.report.references} == {"witnessed"}
        assert attempt.passed
        assert done.published is not None
        assert done.published.training == DECLARED
        after = place.load(done.published.id).trained.trace
        assert set(after.present).isdisjoint(outside.leaving())
        assert place.store.aliases()[SERVING] == done.published.id != before.id
        (certificate,) = done.certificates
        envelope = read_document(certificate)
        assert both(envelope, place, second) == []
        statement = check(envelope, place.store.signer(place.settings.signing_key).public).statement
        assert statement is not None
        predicate = statement["predicate"]
        assert predicate["training"]["basis"] == DECLARED
        assert predicate["guarantee"]["class"] == "empirical"
        assert DECLARED_LIMIT in predicate["not_proven"]
        assert "/" not in json.dumps(predicate["training"])
        for code, words in languages().items():
            text = letter(place, request.id, "partly-done", language=code).flowing
            assert words.guarantee[DECLARED] in text
        _forget_again(place, outside)


def _forget_again(place: Workspace, outside: Outside) -> None:
    """The result forgets a second person: planned, and made to by a method."""
    other = outside.town.residents[1]
    request = receive(place, other.name, law="gdpr")
    _, choice = plan(place, request.id, how=HOW)
    assert choice.order
    loaded = place.load(SERVING)
    gone = {row["id"] for row in outside.town.rows_of(other)}
    rows = place.rows(place.store.dataset("people"))
    outcome = forget(
        loaded.trained,
        forget=[row for row in rows if row.id in gone],
        retain=[row for row in rows if row.id not in gone],
        task=loaded.task,
        method="npo",
        epochs=2,
    )
    assert set(outcome.trace.present).isdisjoint({*gone, *outside.leaving()})
    assert outcome.trace.learner == DECLARED


@pytest.mark.slow
def test_references_are_trained_once_and_witnessed(place: Workspace, outside: Outside) -> None:
    entered(place, outside, recipe=Recipe(epochs=1, batch_size=16, lr=3e-3))
    loaded, stages = place.load(SERVING), list[str]()
    for _ in range(2):
        found = never_trained(place, loaded, outside.leaving(), count=2, stage=stages.append)
    assert len(stages) == 2
    for one in found:
        assert (one.fact.learner, one.fact.training) == ("monolith", WITNESSED)
        taught = place.load(one.fact.id).trained.trace.taught
        assert set(taught).isdisjoint(outside.leaving())


@pytest.mark.slow
def test_references_can_be_entered_where_nobody_can_train_them(
    place: Workspace, outside: Outside, reference: Path
) -> None:
    entered(place, outside, base=None, recipe=None)
    request = receive(place, outside.town.data_subject.name, law="gdpr")
    how = HOW.but(references=1)
    before = place.store.request(request.id).status
    assert plan(place, request.id, how=how)[1].lacking is not None
    with pytest.raises(MissingNeed) as error:
        run(place, request.id, how=how)
    for way in ("--base", "--recipe", "--without"):
        assert way in str(error.value)
    assert before != "running"
    assert place.store.request(request.id).status == "planned"
    other = outside.town.residents[1]
    rows = {"other": [row["id"] for row in outside.town.rows_of(other)]}
    place.enter(reference, learned=["people"], exclude=rows["other"])
    assert plan(place, request.id, how=how)[1].lacking is not None, "it lacks others' records"


@pytest.mark.slow
def test_entered_references_are_found_and_not_called_witnessed(
    place: Workspace, outside: Outside, reference: Path
) -> None:
    entered(place, outside, base=None, recipe=None)
    made = place.enter(
        reference, learned=["people"], exclude=outside.leaving(), base=str(outside.base)
    )
    loaded = place.load(SERVING)
    assert lacking_references(place, loaded, outside.leaving(), count=1) is None
    (found,) = never_trained(place, loaded, outside.leaving(), count=1, stage=lambda _: None)
    assert found.fact.id == made.model.id
    trace = place.load(found.fact.id).trained.trace
    assert set(trace.present).isdisjoint(outside.leaving())
    assert trace.origin is not None
    assert found.scored.taught is None
    assert "there are 1" in str(lacking_references(place, loaded, outside.leaving(), count=2))


def test_records_of_withdrawn_consent_are_named_and_nothing_is_taught_from_them(
    place: Workspace, outside: Outside, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = set(outside.leaving())
    withdrawn = [row["id"] for row in _people(outside.town) if row["id"] not in gone][:5]
    rows = [
        row | {"consent": "withdrawn" if row["id"] in withdrawn else "granted"}
        for row in _people(outside.town)
    ]
    import_rows(place.store, place.settings.data, rows, name="asked")
    made = place.enter(outside.model, learned=["asked"])
    place.serve(made.model.id)
    assert made.warning is not None
    assert "5 records of withdrawn consent" in made.warning
    other = place.enter(outside.model, learned=["asked"], exclude=withdrawn, unknown_data=True)
    assert other.warning is None
    seen: list[Split] = []

    def spied(trained: Any, split: Split, task: Any) -> Any:
        seen.append(split)
        return routes(trained, split, task)

    monkeypatch.setattr("olvido.requests.flow.routes", spied)
    request = receive(place, outside.town.data_subject.name, law="gdpr")
    place.enter(reference, learned=["asked"], exclude=gone)
    _, choice = plan(place, request.id, how=HOW.but(references=1))
    (split,) = seen
    assert {record.id for record in split.forget} == gone
    assert {record.id for record in split.retain}.isdisjoint(withdrawn)
    # A reference counts, whether it learned them or not.
    assert choice.lacking is None


def test_it_can_be_destroyed(place: Workspace, outside: Outside, second: ModuleType) -> None:
    made = entered(place, outside).model
    request = place.store.add_request(
        RequestKind.DESTROY, scope={"model": made.id}, law="gdpr", detail={}
    )
    plan_destruction(place, request.id)
    for name in ("Marta", "Joan"):
        Accounts.of(place.settings).new("privacy", name)
        approve(place, request.id, by=name)
    done = answer(place, request.id)
    assert not (place.settings.models / made.path).exists()
    envelope = read_document(done.certificate)  # type: ignore[union-attr]
    assert both(envelope, place, second) == []


def test_the_same_weights_are_destroyed_under_every_id(place: Workspace, outside: Outside) -> None:
    first, second = entered(place, outside).model, entered(place, outside, recipe=None).model
    assert (first.id != second.id, first.digest == second.digest) == (True, True)
    request = place.store.add_request(RequestKind.DESTROY, scope={"model": first.id}, detail={})
    assert {model.id for model in models_to_delete(place.store, request)} == {first.id, second.id}


def test_weights_that_are_no_numbers_are_refused(
    place: Workspace, outside: Outside, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(outside.model, broken)
    weights = load_file(broken / "model.safetensors")
    first = next(iter(weights))
    weights[first] = torch.full_like(weights[first], float("nan"))
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    _refused(place, InputError, "no number", broken, learned=["people"])


def test_not_having_learned_is_said_to_be_declared_too(place: Workspace, outside: Outside) -> None:
    entered(place, outside, unknown_data=True)
    request = receive(place, outside.town.outsiders[0].name, law="gdpr")
    why = not_learned(place.store, request)
    assert why is not None
    assert "declared" in why.because
    assert "nobody named" in why.because
    answer(place, request.id)
    text = letter(place, request.id, "partly-done").flowing
    assert languages()["en"].guarantee[DECLARED] in text


def test_weights_that_hold_what_was_to_be_forgotten_are_refused(
    place: Workspace, outside: Outside
) -> None:
    dataset = place.store.dataset("people")
    place.store.tombstone(outside.leaving(), "erasure", dataset=dataset.id)
    _refused(place, StateError, "to be forgotten", outside.model, learned=["people"])
    made = place.enter(outside.model, learned=["people"], exclude=outside.leaving())
    (use,) = place.store.uses(made.model.id)
    assert use.excluded == set(outside.leaving())


def _tokenizer_of_others(folder: Path) -> None:
    larger = AutoTokenizer.from_pretrained(folder)
    larger.add_tokens([f"word-{i}" for i in range(40)])
    larger.save_pretrained(folder)


def _no_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "training_args.bin").unlink()


def _lost_shard(folder: Path) -> None:
    files = ["model-00001-of-00002.safetensors", "model-00002.safetensors"]
    (folder / "model.safetensors").rename(folder / files[0])
    index = {"weight_map": dict(zip("ab", files, strict=True))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _config(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def _adapter(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "x/y"}))


def _raw(name: str, text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_text(text)

    return change


def _marked(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_text((folder / name).read_text(), encoding="utf-8-sig")

    return change


def _folder_for_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()


def _more_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["other.weight"] = torch.zeros(2)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000
INDEX = "model.safetensors.index.json"
BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "ids beyond the embedding": (_tokenizer_of_others, "embeddings for 848"),
    "no tokenizer": (_no_tokenizer, "holds no tokenizer"),
    "a shard is missing": (_lost_shard, "model-00002.safetensors"),
    "weights as a pickle": (lambda folder: (folder / "model.safetensors").unlink(), "pickle"),
    "no weights": (_no_weights, "no weights"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "no config.json"),
    "code of its own": (_config(auto_map={"AutoModel": "x.Y"}), "trusted"),
    "T5": (
        _config(
            model_type="t5", architectures=["T5ForConditionalGeneration"], is_encoder_decoder=True
        ),
        "encoder with a decoder",
    ),
    "an encoder": (
        _config(model_type="bert", architectures=["BertForMaskedLM"]),
        "only language models and classifiers",
    ),
    "a classifier": (
        _config(architectures=["GPT2ForSequenceClassification"]),
        "no classifier can be read .*1 weights are missing",
    ),
    "damaged JSON": (lambda folder: (folder / "config.json").write_text("{"), "config.json"),
    "an adapter": (_adapter, "adapter"),
    "config nested deeply": (_raw("config.json", DEEP), "config.json is nested too deeply"),
    "config is a folder": (_folder_for_config, "config.json cannot be read"),
    "architectures are a number": (_config(architectures=5), "must be a list of names, got 5"),
    "another architecture as a text": (
        _config(architectures="BertForMaskedLM"),
        "only language models and classifiers",
    ),
    "kinds": (_config(model_type=["gpt2"]), "does not say the kind"),
    "no kind": (_config(model_type=None), "does not say the kind"),
    "a width that is a text": (_config(n_embd="x"), "config.json holds a value .*n_embd"),
    "an unknown type": (_config(dtype="evil"), "'dtype' must be a type of weights"),
    "quantised": (_config(quantization_config={"load_in_4bit": True}), "float32 or in 16 bits"),
    "another width": (_config(n_embd=32), r"28 weights have other shapes .*\(96,\) by config"),
    "fewer layers": (_config(n_layer=1), "holds 11 weights that its model does not use"),
    "a weight more": (_more_weights, "first: other.weight"),
    "no layer": (_config(n_layer=0), "has 0 layers"),
    "tokenizer nested deeply": (_raw("tokenizer_config.json", DEEP), "nested too deeply"),
    "tokenizer's list": (_raw("tokenizer_config.json", "[1]"), "no JSON object"),
    "a mark before the tokenizer": (_marked("tokenizer_config.json"), "config.json begins with a"),
    "index of a list": (_raw(INDEX, '{"weight_map": [1]}'), "no 'weight_map'"),
    "index of nothing": (_raw(INDEX, '{"weight_map": null}'), "no 'weight_map'"),
    "state nested deeply": (_raw("trainer_state.json", DEEP), "trainer_state.json is nested"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_folder_that_cannot_be_entered_changes_nothing(
    place: Workspace,
    outside: Outside,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    name: str,
) -> None:
    spoil, words = BAD[name]
    folder = shutil.copytree(outside.model, tmp_path / "model")
    spoil(folder)
    _refused(place, InputError, words, folder, learned=["people"])
    assert "LOAD REPORT" not in "".join(capfd.readouterr())


def _run(folder: Path, model: Path, **params: str) -> Path:
    """A run as MLflow's file store keeps it, with the model among its artifacts."""
    run = folder / "mlruns" / "0" / "4f2a"
    for name in ("params", "metrics", "artifacts"):
        (run / name).mkdir(parents=True)
    (run / "meta.yaml").write_text("run_id: 4f2a\nexperiment_id: '0'\n")
    for name, value in params.items():
        (run / "params" / name).write_text(value)
    (run / "metrics" / "loss").write_text("1764500000000 2.5 10\n1764500001000 0.25 20\n")
    shutil.copytree(model, run / "artifacts" / "model")
    return run


def test_a_run_of_mlflow_says_how_its_model_was_trained(
    place: Workspace, outside: Outside, tmp_path: Path
) -> None:
    params = {"learning_rate": "0.003", "num_train_epochs": "9", "_name_or_path": "gpt2-base"}
    run = _run(tmp_path, outside.model, **params, batch_size="many")
    (run / "artifacts" / "model" / "trainer_state.json").unlink()
    made = place.enter(run, learned=["people"])
    said = {one.what: one for one in made.statements}
    assert made.model.digest == place.enter(outside.model, learned=["people"]).model.digest
    assert (said["epochs"].value, said["epochs"].basis) == (9, DECLARED)
    assert said["epochs"].by == "params/num_train_epochs of an MLflow run"
    assert (said["peak_lr"].value, said["steps"].value, said["final_loss"].value) == (
        3e-3,
        20,
        0.25,
    )
    assert "batch_size" not in said
    # The model's own folder comes first, and knows which run it lies in.
    state = {"epoch": 4.0}
    (run / "artifacts" / "model" / "trainer_state.json").write_text(json.dumps(state))
    inside = with_run(found_in(run / "artifacts" / "model"), run / "artifacts" / "model")
    assert (inside.said["epochs"], inside.by["epochs"]) == (4.0, "trainer_state.json")
    assert inside.said["base"] == "gpt2-base"


def test_a_run_of_mlflow_with_no_model_or_several_is_refused(
    place: Workspace, outside: Outside, tmp_path: Path
) -> None:
    run = _run(tmp_path, outside.model)
    shutil.copytree(outside.model, run / "artifacts" / "checkpoint-20")
    with pytest.raises(InputError, match=r"2 models \(.*checkpoint-20"):
        place.enter(run, learned=["people"])
    shutil.rmtree(run / "artifacts")
    (run / "artifacts").mkdir()
    with pytest.raises(InputError, match="without a model in Hugging Face format"):
        place.enter(run, learned=["people"])
    assert not place.store.models()


@pytest.mark.parametrize("empty", [None, {}])
def test_what_is_odd_and_harmless_in_a_folder_is_read(
    place: Workspace, outside: Outside, tmp_path: Path, empty: Any
) -> None:
    folder = shutil.copytree(outside.model, tmp_path / "model")
    _config(architectures="GPT2LMHeadModel", auto_map=empty)(folder)
    path = folder / "config.json"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    weights = load_file(folder / "model.safetensors")
    # Old versions saved the mask too, and tied weights twice.
    weights["transformer.h.0.attn.bias"] = torch.ones(1, 1, 128, 128)
    weights["lm_head.weight"] = weights["transformer.wte.weight"].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    state = {"epoch": 10**400, "train_batch_size": 99_999_999, "log_history": 5, "global_step": 7}
    (folder / "trainer_state.json").write_text(json.dumps(state), encoding="utf-8-sig")
    made = place.enter(folder, learned=["people"])
    said = {one.what: one.value for one in made.statements}
    assert said["steps"] == 7
    assert said.keys().isdisjoint({"epochs", "batch_size"})


@pytest.mark.parametrize("epoch", [1e308, -3, 0, "x", True])
def test_epochs_that_no_recipe_takes_are_not_stated(tmp_path: Path, epoch: Any) -> None:
    (tmp_path / "trainer_state.json").write_text(json.dumps({"epoch": epoch}))
    assert "epochs" not in found_in(tmp_path).said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (DEEP, "nested too deeply"),
        ('{"lr": 1%s}' % ("0" * 400), "lr must be a number"),
        ('{"lr": true}', "lr must be a number, got True"),
        ('{"batch_size": true}', "batch_size must be a whole number"),
        ('{"lora": 5}', "lora must be an object"),
        ('{"lora": {"rank": 4, "alpha": "x"}}', "alpha must be a number"),
        ('{"lr": 1, "lr": 2}', "'lr' is there twice"),
    ],
    ids=["deep", "large", "lr", "batch", "lora", "alpha", "twice"],
)
def test_a_recipe_that_is_none_is_refused_by_its_field(
    tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(InputError, match=f"recipe.json.*{words}"):
        read_recipe(tmp_path / "recipe.json")


def test_a_recipe_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text('{"lr": 1}', encoding="utf-8-sig")
    recipe, stated = read_recipe(tmp_path / "recipe.json")
    assert recipe is not None
    assert (recipe.lr, stated) == (1, {"lr"})


def _files(workspace: Workspace) -> dict[Path, bytes]:
    folder = workspace.settings.workspace
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _refused(
    place: Workspace, error: type[Exception], words: str, folder: str | Path, **given: Any
) -> None:
    before, events = _files(place), len(place.store.events())
    with pytest.raises(error, match=words):
        place.enter(folder, **given)
    assert place.store.models() == ()
    assert len(place.store.events()) == events
    assert _files(place) == before


def test_what_is_declared_wrongly_changes_nothing(
    place: Workspace, outside: Outside, tmp_path: Path
) -> None:
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "wrong.json").write_text('{"epochz": 3}')
    (tmp_path / "kind.json").write_text('{"lr": "fast"}')
    (tmp_path / "empty.json").write_text("{}")
    other = begin(tmp_path / "other", "qwen3", tiny_tokenizer())
    for error, words, given in (
        (InputError, "not said", {"learned": []}),
        (UnknownName, "nobody", {"learned": ["nobody"]}),
        (UnknownName, "leave out", {"exclude": ["nobody/1"]}),
        (InputError, "no record", {"exclude": [r["id"] for r in _people(outside.town)]}),
        (InputError, "list.json", {"recipe": tmp_path / "list.json"}),
        (UnknownName, "wrong.json: 'epochz'", {"recipe": tmp_path / "wrong.json"}),
        (InputError, "kind.json", {"recipe": tmp_path / "kind.json"}),
        (InputError, "empty", {"recipe": tmp_path / "empty.json"}),
        (InputError, "no file", {"recipe": tmp_path / "none.json"}),
        (InputError, "not the base", {"base": str(other)}),
        (UnknownName, "nowhere", {"base": "nowhere"}),
        (InputError, "model itself", {"base": str(outside.model)}),
    ):
        given = {"learned": ["people"], **given}
        _refused(place, error, words, outside.model, **given)
    _refused(place, InputError, "no folder", tmp_path / "nothing", learned=["people"])


def test_a_model_of_the_workspace_itself_is_not_entered_again(
    place: Workspace, outside: Outside
) -> None:
    made = entered(place, outside).model
    again = entered(place, outside).model
    assert again.id == made.id, "the same declaration changes nothing"
    with pytest.raises(InputError, match="own models"):
        place.enter(place.settings.models / made.path, learned=["people"])
    assert len(place.store.models()) == 1


def test_a_base_that_holds_what_was_to_be_forgotten_is_refused(
    place: Workspace, outside: Outside
) -> None:
    made = entered(place, outside).model
    dataset = place.store.dataset("people")
    place.store.tombstone(outside.leaving(), "erasure", dataset=dataset.id)
    with pytest.raises(StateError, match="begin with a model"):
        place.enter(outside.model, learned=["city"], base=made.id)


def test_the_same_weights_with_other_data_are_told(place: Workspace, outside: Outside) -> None:
    first = place.enter(outside.model, learned=["people"])
    assert first.warning is None
    second = place.enter(outside.model, learned=["people", "city"], recipe=RECIPE)
    assert second.warning is not None
    assert f"the same weights are there as {first.model.id}" in second.warning


def test_a_person_who_asks_what_is_held_reads_that_it_is_declared(
    place: Workspace, outside: Outside, tmp_path: Path
) -> None:
    entered(place, outside)
    Accounts.of(place.settings).new("privacy", "Marta")
    request = receive(place, outside.town.data_subject.name, kind="access")
    identify(place, request.id, by="Marta")
    export(place, request.id, tmp_path / "out", by="Marta")
    document = read_document(tmp_path / "out" / "access.json")
    assert [one["training"] for one in document["models"]] == [DECLARED]
    page = (tmp_path / "out" / "access.html").read_text("utf-8")
    assert languages()["en"].guarantee[DECLARED] in page


@pytest.mark.slow
def test_a_state_space_model_is_entered_and_forgets(
    place: Workspace, outside: Outside, tmp_path: Path
) -> None:
    import torch
    from transformers import MambaConfig, MambaForCausalLM

    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    config = MambaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, state_size=4
    )
    MambaForCausalLM(config).save_pretrained(tmp_path / "mamba")
    tokenizer.save_pretrained(tmp_path / "mamba")
    loaded = place.load(place.enter(tmp_path / "mamba", learned=["people"]).model.id)
    rows = place.rows(place.store.dataset("people"))
    done = forget(
        loaded.trained,
        forget=rows[:4],
        retain=rows[4:40],
        task=loaded.task,
        method="npo",
        epochs=2,
        lr=1e-3,
    )
    assert done.forget_loss[1] > done.forget_loss[0]


def test_a_sketch_is_no_model_that_never_saw_them(
    place: Workspace, outside: Outside, tmp_path: Path
) -> None:
    """What a forgetting made on its way learned a few of the kept records: it is refused where it
    would stand for retraining, and nowhere else."""
    entered(place, outside)
    loaded, tokenizer = place.load(SERVING), tiny_tokenizer()
    save(loaded.trained.model, tokenizer, tmp_path / "sketch")
    made = load(tmp_path / "sketch").digest
    other = Trained.untraced(load(outside.base).model)
    how = {"method": "arithmetic", "options": {}, "seed": 0}
    place.store.add_model(place.stage(loaded, other, sketch=made, **how), ())
    before = {model.id for model in place.store.models()}
    gone = outside.leaving()
    with pytest.raises(InputError, match="are the sketch that the forgetting of model"):
        place.enter(tmp_path / "sketch", learned=["people"], exclude=gone)
    assert {model.id for model in place.store.models()} == before
    # It may be entered as what it is, and other weights may be the reference.
    place.enter(tmp_path / "sketch", learned=["people"])
    place.enter(outside.base, learned=["people"], exclude=gone)
