"""`olvido models`: the models that the ledger knows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from olvido.cli.output import Terminal, command, table

if TYPE_CHECKING:
    from olvido.ledger.facts import Model
    from olvido.ledger.model_documents import ModelRegistry
    from olvido.ledger.store import Store
    from olvido.workspace import Workspace

commands = typer.Typer()


@commands.callback(invoke_without_command=True)
@command
def listing(terminal: Terminal) -> None:
    """Show all models, or one with `olvido models show`."""
    with terminal.store() as store:
        found = _described(store, store.models())
    columns = ("id", "learner", "method", "parents", "aliases", "data", "made", "gone")
    rows = [
        (
            m["id"],
            m["learner"],
            m["method"],
            ", ".join(m["parents"]),
            ", ".join(m["aliases"]),
            ", ".join(use["name"] for use in m["data"]),
            m["created_at"],
            m["gone"] and m["gone"]["reason"],
        )
        for m in found
    ]
    terminal.emit({"models": found}, table(columns, rows))


@commands.command()
@command
def show(
    terminal: Terminal,
    ref: Annotated[str, typer.Argument(help="An alias, the beginning of an id, or a digest.")],
) -> None:
    """Show one model: how it was made and which data it used."""
    with terminal.store() as store:
        model = store.model(ref)
        document = _described(store, [model])[0] | {
            "recipe": dict(model.recipe),
            "seed": model.seed,
            "environment": dict(model.environment),
        }
    shown = document | {"gone": document["gone"] and document["gone"]["reason"]}
    rows = [
        (name, "\n".join(map(_line, value)) if isinstance(value, list) else value)
        for name, value in shown.items()
    ]
    terminal.emit(document, table(("what", "value"), rows))


@commands.command()
@command
def export(
    terminal: Terminal,
    ref: Annotated[str, typer.Argument(help="An alias, the beginning of an id, or a digest.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    mlflow: Annotated[
        str | None,
        typer.Option("--mlflow", metavar="URI", help="Register it in this MLflow registry, too."),
    ] = None,
    name: Annotated[
        str, typer.Option("--name", help="Name of the registered model, with --mlflow.")
    ] = "olvido",
) -> None:
    """Write one model as a Hugging Face folder with its card, checked against the ledger."""
    from olvido.artifact_shapes import NOTE
    from olvido.errors import DigestMismatch
    from olvido.ledger.model_documents import ModelRegistry, model_card
    from olvido.models import function_digest, save
    from olvido.models.digest import export_note, trace_digest
    from olvido.workspace import Workspace

    with Workspace(terminal.settings()) as workspace:
        # Checked before anything is written: MLflow may not be installed.
        workspace.store.model(ref)
        registry = None if mlflow is None else ModelRegistry(mlflow, name)
        loaded = workspace.load(ref)
        card = model_card(workspace.store, loaded.fact)

        def fill(unfinished: Path) -> None:
            (unfinished / "README.md").write_text(card, encoding="utf-8")
            note = trace_digest(workspace.settings.models / loaded.fact.path / NOTE)
            (unfinished / NOTE).write_text(export_note(note), encoding="utf-8")

        save(loaded.trained.model, loaded.tokenizer, folder, fill=fill)
        if (found := function_digest(folder)) != str(loaded.fact.function):
            raise DigestMismatch(f"the copy in {folder}", str(loaded.fact.function), found)
        # The closure of a later request has to list this copy.
        where = {"model": loaded.fact.id, "path": str(folder.resolve())}
        workspace.store.note("model-exported", where)
        document = {"id": loaded.fact.id, "digest": str(loaded.fact.digest), "path": str(folder)}
        if registry is not None:
            document |= _registered(workspace, registry, loaded.fact, folder)
    terminal.emit(document, table(("what", "value"), document.items()))


def _registered(
    workspace: Workspace, registry: ModelRegistry, model: Model, folder: Path
) -> dict[str, str]:
    from olvido.ledger.model_documents import registry_tags
    from olvido.requests.certificate import certificate_about

    path = certificate_about(workspace, model.id)
    digest = None if path is None else sha256(path.read_bytes()).hexdigest()
    tags = registry_tags(workspace.store, model, certificate=digest)
    number = registry.add(folder, tags, f"Version {model.id} of an Olvido workspace")
    version_entry = {"name": registry.name, "version": number}
    workspace.store.note("model-registered", {"model": model.id} | version_entry)
    return {"registered": f"{registry.name} version {number}"} | tags


@commands.command()
@command
def ask(
    terminal: Terminal,
    ref: Annotated[str, typer.Argument(help="An alias, the beginning of an id, or a digest.")],
    question: Annotated[str | None, typer.Argument(help="What to ask.")] = None,
    given: Annotated[
        Path | None,
        typer.Option(
            "--input",
            metavar="FILE",
            help="What a classifier shall classify: a picture, a .npy array or a .json list.",
        ),
    ] = None,
) -> None:
    """Ask a model; answers about people whose answers are suppressed are withheld.

    A classifier answers with its class and the probability of each; those of arrays are never
    withheld, since nobody is recognised in one.
    """
    from olvido.audits.scoring import ScoredModel
    from olvido.errors import InputError
    from olvido.requests.rights.output_filter import OutputFilter, classified
    from olvido.tasks import Example
    from olvido.workspace import Workspace

    if (question is None or not question.strip()) and given is None:
        raise InputError("nothing was asked: give a question, or an input (--input)")
    if question is not None and given is not None:
        raise InputError("a question and an input were given: give one of them")
    value = question if given is None else _read_input(given)
    with Workspace(terminal.settings()) as workspace:
        loaded, output_filter = workspace.load(ref), OutputFilter(workspace.store)
        if loaded.task.classes:
            document = classified(loaded, output_filter, value)
        elif question is None:
            raise InputError(f"model {loaded.fact.id} answers in words: give it a question")
        else:
            asked = Example("question", question, "")
            (said,) = ScoredModel(loaded.trained.model, loaded.task).answers([asked])
            answer = output_filter.pass_on(question, said)
            document = {"model": loaded.fact.id, "answer": answer.text}
            document |= {"guarantee": answer.guarantee}
    shown = [f"{name}: {chance:.3f}" for name, chance in document.get("probabilities", {}).items()]
    terminal.emit(document, "\n".join([document["answer"], *shown[:5]]))


def _read_input(path: Path) -> Any:
    """The input in a file: an array, or a picture's bytes. Raises InputError for anything else."""
    import numpy as np

    from olvido.errors import InputError

    try:
        if path.suffix.lower() == ".npy":
            return np.load(path, allow_pickle=False)
        if path.suffix.lower() == ".json":
            return json.loads(path.read_text(encoding="utf-8"))
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as an input ({error}): give a picture, a .npy array or a .json "
            "list"
        ) from error


@commands.command()
@command
def serve(
    terminal: Terminal,
    ref: Annotated[str, typer.Argument(help="An alias, the beginning of an id, or a digest.")],
) -> None:
    """Serve another model; one that holds what was to be forgotten is refused."""
    from olvido.ledger.serving import serve as switch

    with terminal.store() as store:
        model = switch(store, ref)
        names = store.aliases()
    document = {"serving": model.id, "previous": names.get("previous")}
    terminal.emit(document, table(("alias", "model"), document.items()))


def _line(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    left = f", {value['excluded']} left out" if value["excluded"] else ""
    gone = f", {value['forgotten']} forgotten ({value['guarantee']})" if value["forgotten"] else ""
    return f"{value['name']} version {value['version']}{left}{gone}"


def _described(store: Store, models: Sequence[Model]) -> list[dict[str, Any]]:
    """The service's description of models, with the paths of their folders."""
    from olvido.ledger.serving import in_brief

    found = zip(in_brief(store, models), models, strict=True)
    return [one | {"path": model.path} for one, model in found]
