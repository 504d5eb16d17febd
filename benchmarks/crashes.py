"""Kill the worker at random moments, and see that every request is answered once all the same.

    python benchmarks/crashes.py --kills 100 --out docs/results/crashes.json
    python benchmarks/crashes.py --kills 100 --out docs/results/crashes.json --postgres URL

Each request lives in a copy of one small workspace, and with --postgres in a copy of one database
on that server. A moment is drawn uniformly from the time that an undisturbed run takes; if the run
is still going then, the worker is ended by SIGKILL and started again, or, where a process forgets,
half of the time that one is ended and the worker left to go on. So until a run gets through. Only
what was alive when it was killed is counted. After every kill and at the end the ledger is looked
at; what is found wrong is counted, not raised. Then it is measured how long a worker takes from its
start, after a kill in the midst of forgetting, until the ledger says that it forgets again. The
results are written after every kill, and a benchmark that was stopped goes on.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import beta

import harness
from olvido.accounts import Accounts
from olvido.data.importing import import_rows
from olvido.demo.residents import make_town
from olvido.learners import Recipe
from olvido.ledger.facts import RequestStatus
from olvido.ledger.identity import Key
from olvido.ledger.lineage import Holding
from olvido.ledger.store import Store
from olvido.models import save
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.requests import handlers
from olvido.requests.handlers import receive
from olvido.schemas.options import RunOptions
from olvido.settings import Settings
from olvido.workspace import Workspace

CODE = "import sys; from olvido.cli import run; sys.exit(run(sys.argv[1:]))"
RESUMES = 10
POLL = 0.1
S = RequestStatus


@dataclass(frozen=True)
class Server:
    """Where ledgers lie: beside the workspace, or in databases of their own on a server."""

    url: str | None

    def copy(self, origin: Path, folder: Path) -> None:
        """A workspace again, with a ledger of its own."""
        shutil.copytree(origin, folder)
        if self.url is not None:
            self._database(f'CREATE DATABASE "{folder.name}" TEMPLATE "{origin.name}"')
            self.place(folder)

    def place(self, folder: Path) -> None:
        """The settings of a workspace whose ledger has the folder's name."""
        ledger = "" if self.url is None else f"ledger = {json.dumps(self._named(folder.name))}\n"
        (folder / "olvido.toml").write_text(f"threads = 1\n{ledger}", encoding="utf-8")

    def make(self, name: str) -> None:
        """An empty database."""
        if self.url is not None:
            self._database(f'CREATE DATABASE "{name}"')

    def drop(self, name: str) -> None:
        """Its end, whoever still uses it."""
        if self.url is not None:
            self._database(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _named(self, name: str) -> str:
        from sqlalchemy.engine import make_url

        return make_url(str(self.url)).set(database=name).render_as_string(hide_password=False)

    def _database(self, statement: str) -> None:
        from sqlalchemy import create_engine, text

        engine = create_engine(str(self.url), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()


@contextmanager
def places(server: Server) -> Iterator[Callable[[str], Path]]:
    """Folders with names that no database has, which are gone afterwards."""
    made = []
    with tempfile.TemporaryDirectory(prefix="crashes-") as temporary:
        root = Path(temporary)

        def place(name: str) -> Path:
            made.append(f"{root.name}-{name}".lower())
            return root / made[-1]

        try:
            yield place
        finally:
            for name in made:
                server.drop(name)


def make(folder: Path, server: Server) -> str:
    """A workspace with an approved request; returns the name of who asks."""
    town = make_town(seed=0, residents=8, outsiders=0, wordings=2)
    folder.mkdir()
    server.make(folder.name)
    server.place(folder)
    settings = Settings.load(folder, environment={})
    Store.create(settings.ledger, key=Key.create(settings.key)).close()
    tokenizer = tiny_tokenizer()
    save(tiny_model(len(tokenizer), seed=0, width=64, layers=2), tokenizer, folder / "base")
    rows = [row for row in town.rows() if "subject" in row]
    with Workspace(settings) as workspace:
        import_rows(workspace.store, settings.data, rows, name="residents")
        recipe = Recipe(epochs=6, batch_size=16, lr=3e-3)
        model = workspace.learn(["residents"], model=str(folder / "base"), recipe=recipe, seed=0)
        workspace.serve(model.id)
        request = receive(workspace, town.data_subject.name, law="gdpr")
        for status in (S.LOCATED, S.PLANNED):
            workspace.store.advance_request(request.id, status)
        order = RunOptions(model=model.id, method="retrain")
        Accounts.of(settings).new("privacy", "benchmark")
        handlers.approve(workspace, request.id, by="benchmark", order=order)
    return town.data_subject.name


def start(folder: Path) -> subprocess.Popen[bytes]:
    environment = {n: v for n, v in os.environ.items() if not n.startswith("OLVIDO_")}
    return subprocess.Popen(
        [sys.executable, "-c", CODE, "--workspace", str(folder), "run", "--json"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait so long; whether it ended by itself before."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def child_of(process: subprocess.Popen[bytes]) -> int | None:
    """The process that forgets, where there is one now."""
    path = Path(f"/proc/{process.pid}/task")
    for task in path.glob("*/children"):
        found = task.read_text().split()
        if found:
            return int(found[0])
    return None


def spent(process: subprocess.Popen[bytes]) -> float:
    """Seconds of a processor that a run and the process that forgets have taken so far."""
    ticks = 0
    for pid in (process.pid, child_of(process)):
        if pid is not None:
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().split()[13:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def opened(folder: Path) -> Store:
    settings = Settings.load(folder, environment={})
    return Store.open(settings.ledger, key=Key.load(settings.key))


def stand(folder: Path) -> str:
    """Where the only request stands."""
    with opened(folder) as store:
        return str(store.requests()[0].status)


def wrong(folder: Path, name: str, *, ended: bool) -> list[str]:
    """What is not as it should be."""
    settings, found = Settings.load(folder, environment={}), []
    with opened(folder) as store:
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


def life(
    folder: Path, name: str, one: dict[str, Any], span: float, write: Callable[[], None]
) -> None:
    """One request, killed on its way until a run gets through; every kill is written down."""
    chance, kills, faults = random.Random(one["seed"]), one["kills"], one["faults"]
    process, spared = start(folder), False
    while not ended(process, moment := chance.uniform(0.0, span)):
        child = child_of(process) if chance.random() < 0.5 and not spared else None
        kills.append(
            {
                "moment": moment,
                "victim": "worker" if child is None else "forgetting",
                "status": stand(folder),
            }
        )
        # The same worker begins again three times at most: here once, and it is left to.
        spared = child is not None
        if child is not None:
            os.kill(child, signal.SIGKILL)
        else:
            process.kill()
            process.communicate()
        faults += wrong(folder, name, ended=False)
        write()
        if child is None:
            process = start(folder)
    _, err = process.communicate()
    if process.returncode != 0:
        faults.append(f"the last run ended with {process.returncode}: {err.decode()[-200:]}")
    faults += wrong(folder, name, ended=True)
    one["answered"] = True


def resumes(folder: Path, name: str, count: int) -> dict[str, Any]:
    """From a worker's start after a kill until the ledger says that it forgets again."""
    chance, faults = random.Random(count), []
    seconds: list[float] = []
    processor: list[float] = []
    with opened(folder) as store:

        def begun() -> int:
            return sum(step.status is S.RUNNING for step in store.requests()[0].history)

        for number in range(count + 1):
            before, at = begun(), time.perf_counter()
            process = start(folder)
            while begun() == before and process.poll() is None:
                time.sleep(POLL)
            if process.poll() is not None:
                faults.append(f"the run ended with {process.returncode} before it forgot")
                break
            # The first had nothing to go on with.
            if number:
                seconds.append(time.perf_counter() - at)
                processor.append(spent(process))
            time.sleep(chance.uniform(0.0, 0.5))
            process.kill()
            process.communicate()
            faults += wrong(folder, name, ended=False)
    return {"seconds": seconds, "processor": processor, "faults": faults}


def summary(document: dict[str, Any]) -> dict[str, Any]:
    """The figures off all that was seen."""
    kills = [kill for one in document["lives"] for kill in one["kills"]]
    resumed = document.get("resumes", {})
    faults = sum(len(one["faults"]) for one in [*document["lives"], resumed] if one)
    count, faulty = len(kills), sum(bool(one["faults"]) for one in document["lives"])
    answered = sum(one["answered"] for one in document["lives"])
    return {
        "kills": count,
        "requests": len(document["lives"]),
        "answered": answered,
        "faults": faults,
        # Clopper and Pearson's, one-sided.
        "bound_a_kill": float(beta.ppf(0.95, faults + 1, count - faults)),
        "bound_a_request": float(beta.ppf(0.95, faulty + 1, answered - faulty))
        if answered
        else 1.0,
        "victims": dict(Counter(kill["victim"] for kill in kills)),
        "statuses": dict(Counter(kill["status"] for kill in kills)),
        "resumed": {
            name: {"median": statistics.median(resumed[name]), "most": max(resumed[name])}
            for name in ("seconds", "processor")
            if resumed.get(name)
        },
    }


def main() -> None:
    parser = harness.arguments(__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--postgres", help="URL of a server on which databases may be made")
    parser.set_defaults(out=Path("crashes.json"))
    args = harness.parsed(parser)
    server, kind = Server(args.postgres), "postgres" if args.postgres else "sqlite"
    document: dict[str, Any] = harness.read(args.out).get(kind, {"lives": []})
    document |= harness.header(kills=args.kills)

    def write() -> None:
        figures = summary(document)
        harness.add(args.out, kind, {**document, "summary": figures})
        print(json.dumps(figures), flush=True)

    with places(server) as place:
        origin, undisturbed = place("origin"), place("undisturbed")
        name = make(origin, server)
        server.copy(origin, undisturbed)
        began = time.perf_counter()
        start(undisturbed).communicate()
        span = document["undisturbed"] = time.perf_counter() - began
        if faults := wrong(undisturbed, name, ended=True):
            sys.exit(f"an undisturbed run went wrong: {faults}")
        while sum(len(one["kills"]) for one in document["lives"]) < args.kills:
            number = len(document["lives"])
            folder = place(f"life-{number}")
            server.copy(origin, folder)
            one = {"seed": number, "kills": [], "faults": [], "answered": False}
            document["lives"].append(one)
            life(folder, name, one, span, write)
            server.drop(folder.name)
            shutil.rmtree(folder)
            write()
        if "resumes" not in document:
            folder = place("resumes")
            server.copy(origin, folder)
            document["resumes"] = resumes(folder, name, RESUMES)
            write()


if __name__ == "__main__":
    main()
