"""Whether it was checked who asks, where somebody gets a person's data or changes them."""

from __future__ import annotations

from olvido.errors import Action, InputError, Parameter
from olvido.ledger.facts import Request
from olvido.requests.desk import Office
from olvido.requests.guidance import identity_checked, identity_told
from olvido.requests.scope import nameless


def identity_of(office: Office, request: Request, unchecked: str | None) -> str:
    """What is kept of whether it was checked who asks, in a sentence.

    Raises:
        InputError: nobody noted it and no reason is given, one is given and somebody did, or the
            reason names somebody.
    """
    if identity_checked(request) is not None:
        if unchecked is not None:
            raise InputError(
                f"of request {request.id} it was checked who asks: leave the reason out (",
                Parameter("unchecked"),
                ")",
            )
        return identity_told(request)
    if unchecked is None or not unchecked.strip():
        raise InputError(
            "nobody has noted that it was checked who asks, and the data are the person's alone: "
            "check it and note that (",
            Action("identify", f"olvido request identify {request.id} --by ACCOUNT"),
            "), or say why it needs no check (",
            Parameter("unchecked"),
            ")",
        )
    nameless(office.store, request, unchecked)
    return f"not checked: {unchecked.strip()}"
