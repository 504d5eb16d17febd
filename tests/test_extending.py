"""Methods, audits, learners and tasks of another package work by name, as the docs show them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
NAMED = re.compile(r"# (elsewhere/\w+\.py)\n")

PROGRAM = """
import json, warnings
warnings.simplefilter("always")
with warnings.catch_warnings(record=True) as told:
    import olvido
    from olvido.audits.check import check_report

    rows = [
        {"id": f"{i}", "prompt": f"Where does resident {i} live?", "completion": f"House {7 * i}"}
        for i in range(12)
    ]
    given = {"forget": rows[:3], "retain": rows[3:]}
    tiny = olvido.load("tiny", seed=0)
    given["tokenizer"] = tiny.tokenizer
    recipe = olvido.Recipe(epochs=4, batch_size=4, lr=2e-3)
    def train(records, **more):
        return olvido.train(
            tiny.model, tokenizer=tiny.tokenizer, records=records, recipe=recipe, **more
        )
    trained, never = train(rows, learner="thrifty"), train(rows[3:], task="shouted")
    found = {"checkpoints": len(trained.trace.keep), "shouted": never.digest}
    found["spoken"] = train(rows[3:]).digest
    for name in ("mine", "flat"):
        outcome = olvido.forget(trained, **given, method=name, lr=1e-3, epochs=2)
        found[name] = outcome.to_dict()
    from elsewhere.methods import Flat
    made = Flat(power=0.5, lr=1e-3, epochs=2)
    found["object"] = olvido.forget(trained, **given, method=made).to_dict()
    report = olvido.audit(
        outcome.model, **given, reference=never.model, audits=["recall"], metrics=["surprise"]
    )
    document = report.to_dict()
    found["reasons"] = check_report(json.loads(json.dumps(document)), outcome.digest)
    report.page("report.html")
    found["surprise"] = [f for f in document["findings"] if f["audit"] == "surprise"]
    found["unasked"] = "surprise" not in olvido.audits.AUDITS.built_in
found["warned"] = [str(w.message) for w in told if "left out" in str(w.message)]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the docs' examples and the README's method, as pip would have installed it."""
    place = tmp_path_factory.mktemp("site")
    package = place / "elsewhere"
    package.mkdir()
    (package / "__init__.py").touch()
    guide = (ROOT / "docs" / "how-to" / "extend.md").read_text("utf-8")
    for block in BLOCKS.findall(guide):
        if named := NAMED.match(block):
            (place / named[1]).write_text(block)
    (readme,) = (
        block
        for block in BLOCKS.findall((ROOT / "README.md").read_text("utf-8"))
        if "class Mine" in block
    )
    (package / "readme.py").write_text(readme)
    (package / "broken.py").write_text("raise OSError('no such camera')\n")
    info = place / "elsewhere-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    points = "\n".join(re.findall(r'^\[project\.entry-points\.".*?^```', guide, re.M | re.S))
    points = re.sub(r'\[project\.entry-points\."(.*?)"\]', r"[\1]", points).replace('"', "")
    points = points.replace("```", "").replace(
        "[olvido.methods]",
        "[olvido.methods]\nmine = elsewhere.readme:Mine\ncamera = elsewhere.broken:Camera",
    )
    (info / "entry_points.txt").write_text(points)
    return place


def ran(site: Path, *command: str) -> str:
    path = [str(ROOT / "src"), str(site)]
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        cwd=site,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def found(site: Path) -> dict[str, Any]:
    """What a program with that package made, in a process of its own."""
    told: dict[str, Any] = json.loads(ran(site, "-c", PROGRAM).splitlines()[-1])
    return told


def test_methods_run_by_name_and_as_objects(found: dict[str, Any]) -> None:
    for name in ("mine", "flat"):
        assert found[name]["method"] == name
        assert found[name]["options"] == {"lr": 1e-3, "epochs": 2}
        assert found[name]["guarantee"] == "empirical"
        assert found[name]["forget_loss"]["after"] > found[name]["forget_loss"]["before"]
    assert found["object"]["method"] == "flat"
    assert found["object"]["options"] == {"lr": 1e-3, "epochs": 2, "power": 0.5}
    # Power 1 is another loss than power 1/2.
    assert found["object"]["after"] != found["flat"]["after"] != found["mine"]["after"]


def test_an_audit_runs_where_it_is_named_and_does_not_vote(
    found: dict[str, Any], site: Path
) -> None:
    (finding,) = found["surprise"]
    assert finding["metric"] == "surprise"
    assert finding["value"] > 0
    assert not finding["votes"]
    assert found["unasked"]
    # Whoever reads the report believes it, and the page shows it among the others.
    assert found["reasons"] == []
    assert "how surprised the model is by the forget set" in (site / "report.html").read_text()


def test_a_learner_and_a_task_run_by_name(found: dict[str, Any]) -> None:
    assert found["checkpoints"] > 1
    assert found["shouted"] != found["spoken"]


def test_what_cannot_be_loaded_is_named_and_hinders_nobody(found: dict[str, Any]) -> None:
    (warned,) = found["warned"]
    assert "'camera' of elsewhere 1.0 (elsewhere.broken:Camera)" in warned
    assert "no such camera" in warned


@pytest.mark.slow
def test_the_command_line_lists_them_with_their_options(site: Path) -> None:
    code = "from olvido.cli import main; main()"
    told = json.loads(ran(site, "-W", "ignore", "-c", code, "methods", "--json"))["methods"]
    (flat,) = (method for method in told if method["name"] == "flat")
    assert "power" in flat["options"]
    assert {"mine", "npo"} < {method["name"] for method in told}
    assert "camera" not in {method["name"] for method in told}
