"""The service against schemathesis, which makes requests up from its OpenAPI document.

    python -m venv /tmp/st && /tmp/st/bin/pip install schemathesis
    python benchmarks/openapi.py --st /tmp/st/bin/st --out docs/results/openapi.json

It asks twice: with made-up ids of requests and models, which mostly are not there, and with those
that are. Schemathesis (MIT) lives in an environment of its own. The service runs here over a small
workspace with a model, a dataset and requests, and lets one token ask as fast as it can.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import uvicorn

import harness
from olvido.accounts import Accounts
from olvido.data.importing import import_rows
from olvido.ledger.digests import Digest
from olvido.ledger.facts import DatasetUse, Model
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.requests.handlers import StoreContext, receive
from olvido.service.app import application
from olvido.settings import FILE, Settings, template

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "ignored_auth",
)

REQUESTS = 20
IDS = {
    "made up": "",
    "known": "[parameters]\nref = ['serving']\nidentifier = ["
    + ", ".join(f"'req-{i + 1:04d}'" for i in range(REQUESTS))
    + "]\n",
}
"""What schemathesis is told of ids."""


def workspace(folder: Path) -> Settings:
    """A ledger with a little of everything."""
    (folder / FILE).write_text(template(), encoding="utf-8")
    made = Settings.load(folder, environment={})
    rows = [
        {"id": f"r{i}", "prompt": "Where?", "completion": f"Number {i}.", "subject": f"person {i}"}
        for i in range(REQUESTS)
    ]
    with Store.create(made.ledger, key=Key.create(made.key)) as store:
        dataset = import_rows(store, made.data, rows, name="notes").dataset
        model = Model(digest=Digest.of(b"weights"), path="m", learner="monolith")
        store.set_alias("serving", store.add_model(model, [DatasetUse(dataset=dataset.id)]).id)
        for i in range(REQUESTS):
            receive(StoreContext(store, made), f"person {i}", law="gdpr")
    return made


def main() -> None:
    """Serve, let schemathesis ask, and write down what it found."""
    parser = harness.arguments(__doc__)
    parser.add_argument("--st", type=Path, required=True, help="schemathesis's command")
    parser.add_argument("--examples", type=int, default=50)
    args = harness.parsed(parser)
    with tempfile.TemporaryDirectory() as folder:
        settings = workspace(Path(folder))
        _, secret = Accounts.of(settings).new("privacy", "anybody")
        app = application([settings], asks=(10**9, 1.0), guesses=(10**9, 1.0))
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        report, seed = Path(folder) / "report.json", "20261125"
        found = {}
        for name, text in IDS.items():
            (Path(folder) / "schemathesis.toml").write_text(text, encoding="utf-8")
            command = [str(args.st), "run", f"http://127.0.0.1:{port}/api/openapi.json"]
            command += ["-H", f"Authorization: Bearer {secret}", "--checks", ",".join(CHECKS)]
            command += ["-n", str(args.examples), "--seed", seed, "--generation-database", "none"]
            command += ["--report-json-path", str(report), "--no-color", "--continue-on-failure"]
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
            print(done.stdout.replace(secret, "TOKEN"), done.stderr)
            told = json.loads(report.read_text(encoding="utf-8"))
            kept = ("operations", "test_cases", "failures")
            found[name] = {"status": done.returncode} | {k: told[k] for k in kept if k in told}
        server.should_exit = True
        thread.join()
    said = subprocess.run([str(args.st), "--version"], capture_output=True, text=True, check=True)
    about = harness.header(
        schemathesis=said.stdout.split()[-1],
        checks=list(CHECKS),
        examples_of_each_operation=args.examples,
        seed=int(seed),
        found=found,
    )
    harness.finish(about, args)


if __name__ == "__main__":
    main()
