"""Kill the worker at random moments, and see that every request is answered once all the same.

    python benchmarks/crashes.py --kills 100 --out docs/results/crashes.json

Each request lives in a copy of one small workspace and is killed several times on its way, by
SIGKILL, at a moment drawn uniformly from the time that an undisturbed run takes; every other time
it is the process that forgets which is killed, not the worker. Then the worker is left to finish.
After every kill and at the end the ledger is looked at; what is found wrong is counted, not raised.
The results are written after every request, and a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from olvido.demo.residents import make_town
from olvido.documents import read_document, write_document
from olvido.learners import Recipe
from olvido.ledger.facts import RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.importing import import_rows
from olvido.ledger.lineage import Holding
from olvido.ledger.store import Store
from olvido.models import save
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.requests import desk
from olvido.requests.desk import receive
from olvido.requests.workflow import Order
from olvido.settings import Settings
from olvido.workspace import Workspace

KILLS_EACH = 5
CODE = "import sys; from olvido.cli import run; sys.exit(run(sys.argv[1:]))"
S = RequestStatus


def make(folder: Path) -> str:
    """A workspace with an approved request; returns the name of who asks."""
    town = make_town(seed=0, residents=12, outsiders=0, told=3)
    settings = Settings.load(folder, environment={})
    Store.create(settings.ledger, key=Key.create(settings.key)).close()
    (folder / "olvido.toml").write_text("threads = 1\n", encoding="utf-8")
    tokenizer = tiny_tokenizer()
    save(tiny_model(len(tokenizer), seed=0, width=64, layers=2), tokenizer, folder / "base")
    rows = [row for row in town.rows() if "subject" in row]
    with Workspace(settings) as workspace:
        import_rows(workspace.store, settings.data, rows, name="residents")
        recipe = Recipe(epochs=14, batch_size=16, lr=3e-3)
        model = workspace.learn(["residents"], model=str(folder / "base"), recipe=recipe, seed=0)
        workspace.serve(model.id)
        request = receive(workspace, town.leaver.name, law="gdpr")
        for status in (S.LOCATED, S.PLANNED):
            workspace.store.advance_request(request.id, status)
        order = Order(model=model.id, method="retrain")
        desk.approve(workspace, request.id, by="benchmark", order=order.to_dict())
    return town.leaver.name


def start(folder: Path) -> subprocess.Popen[bytes]:
    environment = {n: v for n, v in os.environ.items() if not n.startswith("OLVIDO_")}
    return subprocess.Popen(
        [sys.executable, "-c", CODE, "--workspace", str(folder), "run", "--json"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def child_of(process: subprocess.Popen[bytes]) -> int | None:
    """The process that forgets, where there is one now."""
    path = Path(f"/proc/{process.pid}/task")
    for task in path.glob("*/children"):
        found = task.read_text().split()
        if found:
            return int(found[0])
    return None


def wrong(folder: Path, name: str, *, ended: bool) -> list[str]:
    """What is not as it should be."""
    settings, found = Settings.load(folder, environment={}), []
    with Store.open(settings.ledger, key=Key.load(settings.key)) as store:
        requests, models = store.requests(), store.models()
        if not store.verify_log().sound:
            found.append("the log is broken")
        if len(requests) != 1:
            return [*found, f"{len(requests)} requests instead of one: lost or doubled"]
        (request,) = requests
        if request.status is S.CLOSED:
            found.append("falsely closed")
        if len(models) > 2:
            found.append(f"{len(models)} versions instead of two: published twice")
        if not ended:
            going = (S.APPROVED, S.RUNNING, S.AUDITED, S.PUBLISHED)
            return found if request.status in going else [*found, f"is {request.status}"]
        if request.status is not S.PUBLISHED or len(models) != 2:
            return [*found, f"ended as {request.status} with {len(models)} models"]
        states = {s.model.id: s.holding for s in store.lineage(store.key.subject(name)).models}
        if states[store.aliases()["serving"]] is not Holding.WITHOUT:
            found.append("the model that serves holds the records")
    if len(list(settings.certificates.iterdir())) != 1:
        found.append("not one certificate")
    return found


def life(origin: Path, name: str, seed: int, span: float) -> dict[str, Any]:
    """One request, killed several times on its way to the end."""
    chance, kills, faults = random.Random(seed), [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "workspace"
        shutil.copytree(origin, folder)
        for number in range(KILLS_EACH):
            process = start(folder)
            moment = chance.uniform(0.0, span)
            time.sleep(moment)
            victim = child_of(process) if number % 2 else None
            if victim is None:
                process.kill()
            else:
                os.kill(victim, signal.SIGKILL)
                time.sleep(chance.uniform(0.0, 1.0))
                process.kill()
            process.communicate()
            kills.append({"moment": moment, "victim": "worker" if victim is None else "both"})
            faults += wrong(folder, name, ended=False)
        began = time.perf_counter()
        process = start(folder)
        _, err = process.communicate()
        if process.returncode != 0:
            faults.append(f"the last run ended with {process.returncode}: {err.decode()[-200:]}")
        faults += wrong(folder, name, ended=True)
    return {
        "seed": seed,
        "kills": kills,
        "faults": faults,
        "last_run": time.perf_counter() - began,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("crashes.json"))
    arguments = parser.parse_args()
    known: list[dict[str, Any]] = []
    if arguments.out.exists():
        known = read_document(arguments.out)["lives"]
    with tempfile.TemporaryDirectory() as temporary:
        origin = Path(temporary) / "origin"
        name = make(origin)
        undisturbed = Path(temporary) / "undisturbed"
        shutil.copytree(origin, undisturbed)
        began = time.perf_counter()
        start(undisturbed).communicate()
        span = time.perf_counter() - began
        if faults := wrong(undisturbed, name, ended=True):
            sys.exit(f"an undisturbed run went wrong: {faults}")
        while sum(len(one["kills"]) for one in known) < arguments.kills:
            known.append(life(origin, name, len(known), span))
            document = {
                "undisturbed": span,
                "kills": sum(len(one["kills"]) for one in known),
                "faults": sum(len(one["faults"]) for one in known),
                "lives": known,
            }
            write_document(document, arguments.out)
            print(json.dumps({k: v for k, v in document.items() if k != "lives"}), flush=True)


if __name__ == "__main__":
    main()
