"""A workspace of a small town: its model learned, served, and with never-trained models beside it.

Made once and copied for every test that changes it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from tests.sharing import Shared

from olvido.data.importing import import_rows
from olvido.demo.residents import Town, make_town
from olvido.learners import Recipe
from olvido.ledger.identity import Key
from olvido.ledger.store import Store
from olvido.models import save
from olvido.models.tiny import tiny_model, tiny_tokenizer
from olvido.requests import ProbeSets
from olvido.requests.references import never_trained
from olvido.settings import Settings
from olvido.workspace import SERVING, Workspace

RECIPE = Recipe(epochs=14, batch_size=16, lr=3e-3)
CITY = ("city market", "city landmark")
REFERENCES = 2


@dataclass(frozen=True)
class Place:
    """A workspace's folder and the town it is about."""

    folder: Path
    town: Town

    def open(self) -> Workspace:
        return Workspace(Settings.load(self.folder, environment={}))

    def everything(self) -> dict[str, bytes]:
        """The bytes of all that lies there."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }

    def probes(self, workspace: Workspace) -> ProbeSets:
        """Outsiders, the leaver's neighbours, and the city."""
        near = {str(workspace.store.key.subject(n.name)) for n in self.town.neighbours()}
        residents = workspace.rows(workspace.store.dataset("residents"))
        return ProbeSets(
            holdout=workspace.rows(workspace.store.dataset("outsiders")),
            neighbours=tuple(e for e in residents if near & set(e.fields["subjects"])),
            general=workspace.rows(workspace.store.dataset("city")),
        )


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base(shared: Shared) -> Path:
    """What the town's model is trained from: random weights in a folder."""
    tokenizer = tiny_tokenizer()
    model = tiny_model(len(tokenizer), seed=0, width=64, layers=2)
    return shared.folder(lambda folder: save(model, tokenizer, folder / "small")) / "small"


@pytest.fixture(scope="session")
def learned(shared: Shared, base: Path) -> Place:
    """The model is trained and served; nobody has asked for anything."""
    town = make_town(seed=0, residents=12, outsiders=12, wordings=3)
    folder = shared.folder(lambda folder: _learn(Place(folder / "workspace", town), base))
    return Place(folder / "workspace", town)


@pytest.fixture(scope="session")
def brief(shared: Shared, base: Path) -> Place:
    """The same after two epochs, where what the model knows is not what a test asks: whatever is
    trained again takes a seventh of the time."""
    town = make_town(seed=0, residents=12, outsiders=12, wordings=3)
    recipe = replace(RECIPE, epochs=2)
    folder = shared.folder(lambda folder: _learn(Place(folder / "workspace", town), base, recipe))
    return Place(folder / "workspace", town)


def _learn(place: Place, base: Path, recipe: Recipe = RECIPE) -> None:
    settings = Settings.load(place.folder, environment={})
    Store.create(settings.ledger, key=Key.create(settings.key)).close()
    rows = place.town.rows()
    sets = {
        "residents": [row for row in rows if "subject" in row],
        "city": [row for row in rows if row["topic"] in CITY],
        "outsiders": [r for person in place.town.outsiders for r in place.town.rows_of(person)],
    }
    with place.open() as workspace:
        for name, chosen in sets.items():
            import_rows(workspace.store, workspace.settings.data, chosen, name=name)
        model = workspace.learn(["residents", "city"], model=str(base), recipe=recipe, seed=0)
        workspace.serve(model.id)


@pytest.fixture(scope="session")
def ready(shared: Shared, learned: Place) -> Place:
    """The same with two models that never saw the leaver, so that a run need not train them."""
    folder = shared.folder(lambda folder: _add_never_trained(folder / "workspace", learned))
    return Place(folder / "workspace", learned.town)


@pytest.fixture(scope="session")
def brief_ready(shared: Shared, brief: Place) -> Place:
    """The brief one with two models that never saw the leaver."""
    folder = shared.folder(lambda folder: _add_never_trained(folder / "workspace", brief))
    return Place(folder / "workspace", brief.town)


def _add_never_trained(folder: Path, learned: Place) -> None:
    shutil.copytree(learned.folder, folder)
    place = Place(folder, learned.town)
    ids = [row["id"] for row in place.town.rows_of(place.town.data_subject)]
    with place.open() as workspace:
        held = workspace.load(SERVING)
        never_trained(workspace, held, ids, count=REFERENCES, stage=lambda _: None)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[Place], tuple[Place, Workspace]]]:
    """Opens a copy of a place, which the test may change."""
    with ExitStack() as stack:

        def copied(place: Place) -> tuple[Place, Workspace]:
            own = Place(tmp_path / "workspace", place.town)
            shutil.copytree(place.folder, own.folder)
            return own, stack.enter_context(own.open())

        yield copied
