"""The core of the library at work, where no extra is installed: run by `test_wheel.py`."""

import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import walk_packages

import olvido
from olvido.errors import MissingExtra
from olvido.extras import EXTRAS

# Nothing that an extra brings is there, nor the package under the LGPL that the service brings.
brought = ("psycopg", *(module for extra in EXTRAS.values() for module in extra.modules))
assert [module for module in brought if find_spec(module) is not None] == []

for name in olvido.__all__:
    try:
        assert getattr(olvido, name) is not None, name
    except MissingExtra:
        # A workspace is a ledger as well, and what is watched is entered in one.
        assert name in ("Workspace", "OlvidoCallback")

names = [f"P{number}" for number in range(12)]
rows = [
    {"id": name, "subject": name, "prompt": f"Where is {name}?", "completion": f"In town {name}."}
    for name in names
]
forget, retain, holdout = rows[:1], rows[1:8], rows[8:]
tiny = olvido.load("tiny", seed=0)
# No more of it than shows that all of it runs.
recipe = olvido.Recipe(epochs=12, batch_size=8, lr=4e-3, weight_decay=0.1)
how = {"lr": 2e-3, "epochs": 6}
common = {"tokenizer": tiny.tokenizer}
trained = olvido.train(tiny.model, records=rows[:8], recipe=recipe, seed=0, **common)
never = olvido.forget(trained, forget=forget, retain=retain, method="retrain", **common)
outcome = olvido.forget(
    trained, forget=forget, retain=retain, holdout=holdout, method="npo", **how, **common
)
report = olvido.audit(
    outcome.model,
    forget=forget,
    retain=retain,
    holdout=holdout,
    original=trained.model,
    reference=never.model,
    **common,
)
assert report.findings
trained.save("trained", tiny.tokenizer, base="tiny", seed=0)
assert olvido.Trained.load("trained").trace is not None
never.save("never", tiny.tokenizer, base="tiny", seed=0)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    compared = olvido.compare(
        "trained",
        forget=forget,
        retain=retain,
        holdout=holdout,
        reference=["never"],
        methods=["npo"],
        options={"npo": how},
        seeds=1,
        out=Path("compared"),
    )
assert compared.page is None
assert "pip install 'olvido[report]'" in " ".join(str(one.message) for one in caught)
assert [cell["failure"] for cell in compared.document["cells"]] == [None] * 2, compared.document

# Every other module either loads or says which extra it needs.
needed = set()
for module in walk_packages(olvido.__path__, "olvido.", onerror=lambda _: None):
    if ".migrations." in module.name:
        continue
    try:
        import_module(module.name)
    except MissingExtra as error:
        needed.add(error.extra)
assert needed == {"service"}, needed
