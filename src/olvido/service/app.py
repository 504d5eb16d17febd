"""The application: routes, errors and headers.

By itself the service reminds the team of requests that are due, once a day.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from olvido.accounts import Right
from olvido.errors import InputError, OlvidoError, OutOfReach, StateError, UnknownName
from olvido.requests.handlers import RequestContext
from olvido.requests.workflow.reminders import Configuration, configuration
from olvido.requests.workflow.reminding import remind
from olvido.service import api, pages, request_page
from olvido.service.authentication import CALLER, Authenticator, Caller, RequestRefused, Tenant
from olvido.service.rendering import error_page
from olvido.service.server import Boundary
from olvido.service.sessions import Buckets
from olvido.settings import Settings

EVERY = 3600.0
"""Seconds between checks for new reminders; a reminder sent today is not sent again."""
_log = logging.getLogger("uvicorn.error")


async def keep_reminding(context: RequestContext, configured: Configuration) -> None:
    """Send reminders again and again, as long as the service runs."""
    while True:
        try:
            for one in await run_in_threadpool(remind, context, configured):
                if one.failure is not None:
                    _log.warning("reminders by %s: %s", one.way, one.failure)
        except (OlvidoError, OSError) as error:
            _log.warning("reminders: %s", error)
        except Exception:  # noqa: BLE001 - it is logged in full, and nobody would see the task end
            _log.exception("reminders: an unexpected error; they are tried again")
        await asyncio.sleep(EVERY)


ASKS = (120, 0.25)
"""Requests that a token may make at once, and the seconds until one more."""
GUESSES = (30, 2.0)
"""The same limit for unknown tokens from one address."""
VISITS = (30, 2.0)
"""The same limit for unknown status pages from one address."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    # Not "no-referrer": browsers then send "Origin: null" with every form, ours among them.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every response that sets no others: no content from elsewhere, no caching."""


def application(
    workspaces: Sequence[Settings],
    *,
    asks: tuple[int, float] = ASKS,
    guesses: tuple[int, float] = GUESSES,
    visits: tuple[int, float] = VISITS,
) -> FastAPI:
    """Make the service of some workspaces; a token gives access to the data of one.

    Args:
        workspaces: one or more; each is a tenant with its own ledger, key and tokens.
        asks, guesses, visits: see `ASKS`, `GUESSES` and `VISITS`.

    Raises:
        InputError: no workspace, or reminders that are set wrong.
        StateError: a ledger or key is missing, or they do not belong together.
    """
    if not workspaces:
        raise InputError("expected a workspace to serve, got none")
    tenants = tuple(map(Tenant.of, workspaces))

    reminding = [
        (one, configured) for one in tenants if (configured := configuration(one.settings))
    ]

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(keep_reminding(*one)) for one in reminding]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for tenant in tenants:
            tenant.store.close()

    made = FastAPI(
        title="Olvido",
        summary="Requests to be forgotten, and what became of them.",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=life,
    )
    authenticator = Authenticator(
        tenants, asks=Buckets(*asks), guesses=Buckets(*guesses), visits=Buckets(*visits)
    )
    made.state.authenticator = authenticator
    made.include_router(api.router)
    paged = (pages.router, request_page.router)
    for router in paged:
        made.include_router(router)
    made.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    routes = [route for router in (api.router, *paged) for route in router.routes]
    made.add_middleware(
        Boundary,
        authenticator=authenticator,
        routes=[route for route in routes if isinstance(route, APIRoute)],
        refusal=_refused,
        headers=HEADERS,
    )
    made.add_exception_handler(RequestRefused, _refused)
    made.add_exception_handler(OlvidoError, _refused)
    made.add_exception_handler(RequestValidationError, _unreadable)
    made.add_exception_handler(HTTPException, _no_such)
    return made


def _refused(request: Request, error: Exception) -> Response:
    """Answer a refusal: of the caller, or by the library for a name, the input, the state."""
    if not isinstance(error, RequestRefused):
        return _wrong(request, error)
    if error.status == 401 and not _wants_json(request):
        return RedirectResponse("/login", status_code=303)
    response = _said(request, error.status, error.why, error.caller)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if error.wait:
        response.headers["Retry-After"] = str(int(error.wait) + 1)
    return response


def _wrong(request: Request, error: Exception) -> Response:
    if isinstance(error, OutOfReach | OSError) or CALLER not in request.scope:
        # The path of a database or a file is only for the log of this machine.
        logging.getLogger("uvicorn.error").error("%s: %s", type(error).__name__, error)
        return _said(request, 503, "the service cannot be used now: try again later")
    if isinstance(error, UnknownName):
        if request.scope[CALLER].may(Right.FOLLOW):
            return _said(request, 404, error.unnamed)
        # Not everybody may know which names exist.
        return _said(request, 404, f"there is no such {error.kind}")
    return _said(request, 409 if isinstance(error, StateError) else 422, str(error))


def _unreadable(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Places and rules, never the values: they may be somebody's name.
    return _said(request, 422, "; ".join(map(_unread, error.errors())))


def _unread(found: Mapping[str, Any]) -> str:
    # The name of an unknown field came from the sender.
    where = found["loc"][1:-1] if found["type"] == "extra_forbidden" else found["loc"][1:]
    return f"{'.'.join(map(str, where)) or 'what was sent'}: {found['msg']}"


def _no_such(request: Request, error: Exception) -> Response:
    """Answer an error of the framework: an unknown path or method, bytes that are no text."""
    assert isinstance(error, HTTPException)
    wrong = error.status_code == 400
    response = _said(request, 422 if wrong else error.status_code, error.detail)
    response.headers.update(error.headers or {})
    return response


def _said(request: Request, status: int, why: str, known: Caller | None = None) -> Response:
    if _wants_json(request):
        return JSONResponse({"error": why}, status_code=status)
    return error_page(request, status, why, known)


def _wants_json(request: Request) -> bool:
    return request.url.path.startswith("/api")
