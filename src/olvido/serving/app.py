"""The application: routes, errors and headers put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from olvido.errors import InputError, OlvidoError, StateError, UnknownName
from olvido.serving import api, pages
from olvido.serving.guard import Guard, Refused, Tenant
from olvido.serving.limits import Buckets
from olvido.settings import Settings

ASKS = (120, 0.25)
"""A token's requests at once, and the seconds until one more."""
GUESSES = (30, 2.0)
"""The same for one address without a valid token."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    # Not "no-referrer": browsers then send "Origin: null" with every form, ours among them.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer that does not say otherwise: nothing from elsewhere, nothing kept."""


def application(
    workspaces: Sequence[Settings],
    *,
    asks: tuple[int, float] = ASKS,
    guesses: tuple[int, float] = GUESSES,
) -> FastAPI:
    """The service of some workspaces; a token decides whose data is seen.

    Args:
        workspaces: one or more; each is a tenant with its own ledger, key and tokens.
        asks, guesses: see `ASKS` and `GUESSES`.

    Raises:
        InputError: no workspace.
        StateError: a ledger or key is missing, or they do not belong together.
    """
    if not workspaces:
        raise InputError("expected a workspace to serve, got none")
    tenants = tuple(map(Tenant.of, workspaces))

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
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
    made.state.guard = Guard(tenants, asks=Buckets(*asks), guesses=Buckets(*guesses))
    made.include_router(api.router)
    made.include_router(pages.router)
    made.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    made.middleware("http")(_headers)
    made.add_exception_handler(Refused, _refused)
    made.add_exception_handler(OlvidoError, _wrong)
    made.add_exception_handler(RequestValidationError, _unreadable)
    made.add_exception_handler(HTTPException, _no_such)
    return made


async def _headers(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await answer(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.url.path.startswith("/static/"):
        response.headers["Cache-Control"] = "max-age=3600"
    return response


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    if error.status == 401 and not _wants_json(request):
        return RedirectResponse("/login", status_code=303)
    response = _said(request, error.status, error.why)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if error.wait:
        response.headers["Retry-After"] = str(int(error.wait) + 1)
    return response


def _wrong(request: Request, error: Exception) -> Response:
    """What the library refuses, by what is wrong: a name, the input, or the state of things."""
    if isinstance(error, UnknownName):
        return _said(request, 404, str(error))
    return _said(request, 409 if isinstance(error, StateError) else 422, str(error))


def _unreadable(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Places and rules, never the values: they may be somebody's name.
    lines = [f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors()]
    return _said(request, 422, "; ".join(lines))


def _no_such(request: Request, error: Exception) -> Response:
    """What the framework refuses: a path or a method that is not there, bytes that are no text."""
    assert isinstance(error, HTTPException)
    wrong = error.status_code == 400
    response = _said(request, 422 if wrong else error.status_code, error.detail)
    response.headers.update(error.headers or {})
    return response


def _said(request: Request, status: int, why: str) -> Response:
    if _wants_json(request):
        return JSONResponse({"error": why}, status_code=status)
    return pages.error_page(request, status, why)


def _wants_json(request: Request) -> bool:
    return request.url.path.startswith("/api")
