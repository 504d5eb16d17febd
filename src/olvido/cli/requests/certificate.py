"""`olvido certificate`: issue, show and verify the signed certificate of a request's answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from olvido.cli.output import Terminal, command, stages, table
from olvido.cli.requests.intake import opened_context

if TYPE_CHECKING:
    from olvido.ledger.signing import PublicKey

commands = typer.Typer(help="Issue, show and verify the certificate of an answered request.")

_Request = Annotated[str, typer.Argument(metavar="ID", help="Of the request.")]


@commands.command()
@command
def issue(terminal: Terminal, identifier: _Request) -> None:
    """Certify an answered request, once for the same evidence."""
    from olvido.requests.certificate import issue as certify

    with opened_context(terminal) as context:
        path = certify(context, identifier)
    document = {"request": identifier, "certificate": str(path)}
    terminal.emit(document, table(("what", "value"), document.items()))


@commands.command()
@command
def show(terminal: Terminal, identifier: _Request) -> None:
    """Show the content of a request's certificate, and its file."""
    from olvido.errors import StateError
    from olvido.files import read_document
    from olvido.requests.certificate import certificates_of
    from olvido.requests.certificate.check import check
    from olvido.requests.certificate.issue import uncertified

    with opened_context(terminal) as context:
        found = certificates_of(context, identifier)
        if not found:
            raise StateError(uncertified(context, identifier))
        path = found[-1]
        key = _key(terminal, None)
    checked = check(read_document(path), key)
    if not checked.holds or checked.statement is None:
        raise StateError(
            f"the certificate {path} was changed ({'; '.join(checked.reasons)}): restore it"
        )
    predicate = checked.statement["predicate"]
    document = {"file": str(path), "others": [str(p) for p in found[:-1]]}
    terminal.emit(
        document | {"statement": checked.statement},
        table(("what", "value"), [("file", path), *_predicate_rows(predicate)]),
        *(f"Does not prove {line}." for line in predicate["not_proven"]),
    )


@commands.command()
@command
def verify(
    terminal: Terminal,
    file: Annotated[Path, typer.Argument(help="The certificate.")],
    model: Annotated[
        str | None, typer.Option("--model", help="The folder of the model it should be about.")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="PUB", help="The issuer's public key; else the workspace's."),
    ] = None,
) -> bool:
    """Check that a certificate is its issuer's, is logged, and claims no more than its evidence.

    Needs no network and, with --key, no workspace. Exit status 1 when it is not to be believed.
    """
    from olvido.files import read_document
    from olvido.models import function_digest, load
    from olvido.requests.certificate import check

    envelope, public = read_document(file), _key(terminal, key)
    weights = None
    checked = check(envelope, public)
    if model is not None and checked.holds:
        with stages(terminal) as stage:
            stage(f"Loading {model}")
            # Code in the folder is not run before it is verified to be the model's.
            function = function_digest(Path(model)) if Path(model).is_dir() else None
            checked = check(envelope, public, function=function)
            if checked.holds:
                weights = load(model).digest
                checked = check(envelope, public, weights, function)
    predicate = checked.statement["predicate"] if checked.statement and checked.holds else None
    document = {
        "certificate": str(file),
        "holds": checked.holds,
        "reasons": list(checked.reasons),
        "key": str(public),
        "weights": weights,
        "guarantee": predicate and predicate["guarantee"],
        "open": predicate and predicate["closure"]["open"],
        "not_proven": predicate and predicate["not_proven"],
        "replay": checked.replay,
    }
    if predicate is None:
        text = f"Not to be believed: {'; '.join(checked.reasons)}."
        terminal.emit(document, text)
        return False
    lines = [f"Does not prove {line}." for line in predicate["not_proven"]]
    if weights is None:
        lines.append("No model was shown: give --model FOLDER to see that it is about that one.")
    if checked.replay:
        lines.append(
            f"It claims exactness, which can be tried: in the issuer's workspace, {checked.replay} "
            "trains the model over without the records and compares every bit."
        )
    terminal.emit(
        document,
        "Signed by the key, in the log, and no more claimed than its evidence carries.",
        table(("what", "value"), _predicate_rows(predicate)),
        *lines,
    )
    return True


def _predicate_rows(predicate: dict[str, Any]) -> list[tuple[str, object]]:
    from olvido.requests.guidance import bounded, certified_as

    models, audit, closure = predicate["models"], predicate["audit"], predicate["closure"]
    bound = predicate["guarantee"]["bound"]
    return [
        ("request", f"{predicate['request']['id']} ({predicate['request']['kind']})"),
        ("guarantee", f"{predicate['guarantee']['class']}: {predicate['guarantee']['meaning']}"),
        ("method", f"{predicate['method']['name']} (olvido {predicate['method']['olvido']})"),
        ("records bounded" if bound else "records forgotten", predicate["forgotten"]["count"]),
        *([("bound", bounded(bound))] if bound else []),
        ("model before", f"{models['before']['id']} {models['before']['weights']}"),
        (
            "model after",
            models["after"] and f"{models['after']['id']} {models['after']['weights']}",
        ),
        ("verdict", certified_as(predicate)),
        (
            "audit",
            audit
            and f"{len(audit['findings'])} findings, beside {len(audit['never_trained'])} "
            "never-trained models",
        ),
        ("still open", ", ".join(closure["open"]) or "nothing"),
        ("received", predicate["request"]["received"]),
        ("answered", predicate["request"]["answered"]),
        ("entry of the log", predicate["log"]["index"] + 1),
    ]


def _key(terminal: Terminal, file: Path | None) -> PublicKey:
    """The issuer's public key: from the file, or the workspace's own."""
    from olvido.errors import InputError
    from olvido.ledger.signing import PublicKey, public_file

    if file is not None:
        return PublicKey.load(file)
    try:
        settings = terminal.settings()
    except InputError as error:
        raise InputError(
            f"there is no key to verify with: give the issuer's public key with --key ({error})"
        ) from error
    return PublicKey.load(public_file(settings.signing_key))
