"""Every audit against cases made to be caught, and against one that must not be.

The candidates are real models: two layers that know a small town by heart.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

from olvido.audits import Report, Status, Verdict, rephrased
from olvido.audits.knowledge.probes import probes
from olvido.audits.verdict import Ground
from olvido.tasks import Example

from .conftest import World


def failed(report: Report) -> set[str]:
    return {f.audit for f in report.findings if f.status is Status.FAIL}


def test_a_model_that_never_saw_the_data_passes(world: World) -> None:
    report = world.report(world.stranger)
    assert report.verdict is Verdict.PASS, report.reasons
    assert report.reasons == ()
    assert report.not_examined == {}
    assert report.find("recall", "exact match").before == 1.0
    for found in report.findings:
        # Weights are compared and not sampled.
        if found.audit not in ("change", "filter"):
            assert found.interval is not None
            assert found.interval[0] <= found.excess <= found.interval[1]


def test_the_model_as_it_was_fails(world: World) -> None:
    report = world.report(world.before)
    assert report.verdict is Verdict.FAIL
    assert failed(report) >= {"recall", "paraphrase", "likelihood", "change"}
    # One person among a handful of strangers: the attack finds them, and may owe it to chance.
    for found in report.findings:
        if found.audit == "membership":
            assert found.outside
            assert found.status in (Status.FAIL, Status.UNKNOWN, Status.SILENT)
    assert not failed(report) & {"retention", "neighbours", "general"}
    assert any("still recalls the forgotten" in reason for reason in report.reasons)


@pytest.mark.slow
def test_random_weights_fail_for_what_they_lost(world: World) -> None:
    report = world.report(world.fresh(99))
    assert report.verdict is Verdict.FAIL
    assert failed(report) >= {"retention", "neighbours", "general"}
    assert report.find("recall", "exact match").status is Status.PASS
    assert any("collateral damage" in reason for reason in report.reasons)


@pytest.mark.slow
def test_a_destroyed_model_fails_for_what_it_lost(world: World) -> None:
    report = world.report(world.pushed_away(world.before, until=30.0, keep=False))
    assert report.verdict is Verdict.FAIL
    assert failed(report) >= {"likelihood", "retention", "neighbours", "general"}
    assert any("collateral damage" in reason for reason in report.reasons)


@pytest.mark.slow
def test_forgetting_too_much_fails_while_the_rest_is_kept(world: World) -> None:
    report = world.report(world.pushed_away(world.stranger, until=16.0, keep=True))
    assert report.verdict is Verdict.FAIL
    assert "likelihood" in failed(report)
    assert not failed(report) & {"recall", "paraphrase", "retention", "general"}
    loss = report.find("likelihood", "loss")
    assert loss.excess > 0
    assert "above" in loss.says
    attack = report.find("membership", "AUC of the loss attack")
    assert attack.outside
    assert attack.excess < 0


@pytest.mark.slow
def test_a_stammer_is_no_forgetting(world: World) -> None:
    stammer = [Example(e.id, e.prompt, " ".join(["555"] * 8)) for e in world.forget]
    report = world.report(world.taught(world.stranger, [*stammer, *world.retain]))
    assert report.verdict is Verdict.FAIL
    assert "fluency" in failed(report)
    assert not failed(report) & {"recall", "paraphrase", "retention", "neighbours", "general"}
    assert report.find("fluency", "repetition").status is Status.FAIL


@pytest.mark.slow
def test_what_only_a_rephrased_question_brings_back_is_found(world: World) -> None:
    others = {e.fields["topic"]: e.completion for e in world.holdout}
    denied = [Example(e.id, e.prompt, others[e.fields["topic"]]) for e in world.forget]
    leaking = [*denied, *rephrased(world.forget), *world.retain]
    report = world.report(world.taught(world.stranger, leaking, epochs=20, lr=3e-3))
    assert report.find("recall", "exact match").status is Status.PASS
    assert report.find("paraphrase", "exact match").status is Status.FAIL
    assert report.verdict is Verdict.FAIL
    assert any("rephrased" in reason for reason in report.reasons)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("audit", "kind", "others"),
    [("formats", "as JSON", ("recall", "paraphrase")), ("clues", "chain of clues", ("recall",))],
)
def test_what_only_another_form_brings_back_is_found(
    world: World, audit: str, kind: str, others: tuple[str, ...]
) -> None:
    """The plain question is answered as by somebody else; the truth stands behind one form."""
    false = {e.fields["topic"]: e.completion for e in world.holdout}
    asked = (*world.forget, *rephrased(world.forget))
    denied = [replace(e, completion=false[e.fields["topic"]]) for e in asked]
    leaking = [*denied, *probes(world.forget, world.retain, kinds=(kind,))[kind], *world.retain]
    fake = world.taught(world.stranger, leaking, epochs=20, lr=3e-3)
    report = world.report(fake, audits=[audit, *others], level="thorough")
    assert report.find(audit, f"{kind}: probability").status is Status.FAIL
    assert not failed(report) & set(others)
    assert "still says the forgotten" in " ".join(report.reasons)
    assert not failed(world.report(world.stranger, audits=[audit], level="thorough"))


@pytest.mark.slow
def test_what_only_training_on_brings_back_is_found(world: World) -> None:
    """Under noise nothing is said of the forgotten; training goes on and lifts it off them too."""
    covered = world.fresh(0)
    covered.load_state_dict(world.before.state_dict())
    torch.manual_seed(0)
    with torch.no_grad():
        for weights in covered.parameters():
            if weights.ndim > 1:
                weights.add_(torch.randn_like(weights) * weights.std() * 0.9)
    audits = ["recall", "relearning", "unrelated", "retained"]
    report = world.report(covered, audits=audits, level="thorough")
    assert failed(report) == {"retained"}
    found = report.find("retained", "probability after 100 steps")
    assert found.exhibit is not None
    assert found.exhibit["returns"] == 100
    clean = world.report(world.stranger, audits=["retained"], level="thorough").findings[0]
    assert clean.status is Status.PASS
    assert clean.exhibit is not None
    assert clean.exhibit["returns"] is None


@pytest.mark.slow
def test_a_model_that_names_nobody_is_found(world: World) -> None:
    """Never-trained models repeat the name that they are asked about; this one says another."""

    def named(records: Sequence[Example], name: Callable[[Example], str]) -> list[Example]:
        return [replace(e, completion=f"{name(e)}: {e.completion}") for e in records]

    own = [e for e in world.retain if "subject" in e.fields]
    rest = [e for e in world.retain if "subject" not in e.fields]
    kept = [*named(own, lambda e: e.fields["subject"]), *rest]
    speaks = [world.taught(model, kept, epochs=12) for model in world.references]
    pushed = [*named(world.forget, lambda _: "Somebody Else"), *kept]
    report = world.report(
        world.taught(world.stranger, pushed, epochs=12), reference=speaks, audits=["fluency"]
    )
    found = report.find("fluency", "names said")
    assert (found.value, found.votes) == (0.0, False)
    assert found.outside
    own_way = world.taught(world.stranger, kept, epochs=12)
    fine = world.report(own_way, reference=speaks, audits=["fluency"])
    assert not fine.find("fluency", "names said").outside


@pytest.mark.slow
def test_without_paraphrases_nothing_passes(world: World) -> None:
    bare = [Example(e.id, e.prompt, e.completion) for e in world.forget]
    report = world.report(world.stranger, forget=bare)
    assert report.verdict is Verdict.UNKNOWN
    assert "paraphrase" in report.not_examined
    assert any("paraphrases" in reason for reason in report.reasons)
    # What is wrong anyhow stays wrong.
    assert world.report(world.before, forget=bare).verdict is Verdict.FAIL


def test_without_what_was_to_be_kept_nothing_passes(world: World) -> None:
    report = world.report(world.stranger, retain=(), neighbours=(), general=(), holdout=())
    assert report.verdict is Verdict.UNKNOWN
    assert set(report.not_examined) == {"retention", "neighbours", "general", "membership"}


def test_probes_that_the_model_never_knew_prove_nothing(world: World) -> None:
    other, *reference = world.references
    report = world.report(other, original=world.stranger, reference=reference)
    for audit in ("recall", "paraphrase", "likelihood"):
        assert {f.status for f in report.findings if f.audit == audit} == {Status.SILENT}
    assert report.verdict is Verdict.UNKNOWN
    assert any("proves nothing" in reason for reason in report.reasons)


@pytest.mark.slow
def test_without_the_model_as_it_was_nothing_is_silent(world: World) -> None:
    report = world.report(world.stranger, original=None)
    assert [reason.ground for reason in report.grounds] == [Ground.NO_ORIGINAL]
    assert report.verdict is Verdict.UNKNOWN
    assert Status.SILENT not in {f.status for f in report.findings}
    assert set(report.not_examined) == {"change"}
    assert report.original is None


def test_a_single_reference_without_strangers_gives_no_interval(world: World) -> None:
    report = world.report(world.stranger, reference=world.references[0], holdout=())
    for found in report.findings:
        assert (found.p is None) == (found.audit not in ("retention", "neighbours", "general"))
        # Words are not asked of never-trained models where the original model gives them.
        assert len(found.never_trained) == 1 or found.metric == "ROUGE-L"
        if found.p is None:
            assert found.interval is None


@pytest.mark.slow
def test_without_strangers_three_references_decide_and_two_leave_it_to_the_point_estimate(
    world: World,
) -> None:
    report = world.report(world.before, holdout=())
    assert report.verdict is Verdict.FAIL
    assert report.find("recall", "exact match").p is not None
    assert failed(report) >= {"recall", "paraphrase", "likelihood", "change"}
    report = world.report(world.before, holdout=(), reference=world.references[:2])
    assert report.find("recall", "exact match").p is None
    assert failed(report) >= {"recall", "paraphrase", "likelihood", "change"}


@pytest.mark.slow
@pytest.mark.parametrize("where", ["embedding", "one row of it"])
def test_a_model_with_nan_in_it_fails(world: World, where: str) -> None:
    broken = world.fresh(0)
    broken.load_state_dict(world.stranger.state_dict())
    first = world.task.encode(world.forget[0])[1][0]
    with torch.no_grad():
        weights = next(broken.parameters())
        (weights if where == "embedding" else weights[first]).fill_(float("nan"))
    report = world.report(broken)
    assert report.verdict is Verdict.FAIL
    assert "likelihood" in failed(report)


@pytest.mark.slow
def test_a_reference_with_nan_in_it_passes_nobody(world: World) -> None:
    broken = world.fresh(0)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    report = world.report(world.stranger, reference=[world.references[0], broken])
    assert report.verdict is Verdict.FAIL


def test_a_report_is_strict_json(world: World) -> None:
    report = world.report(world.before, neighbours=())
    written = json.dumps(report.to_dict(), allow_nan=False)
    assert json.loads(written) == report.to_dict()
    assert json.loads(written)["verdict"] == "fail"
    assert json.loads(written)["not_examined"] == {"neighbours": ["neighbours"]}


@pytest.mark.slow
def test_an_audit_gives_the_same_numbers_again(world: World) -> None:
    # Of models that kept nothing of an audit before.
    anew = {"original": world.before, "reference": world.references}
    first, again = (world.report(world.stranger, **anew).but(seconds=0.0) for _ in range(2))
    assert first == again
