"""What the service does by itself: remind the team of requests that are due, once a day."""

from __future__ import annotations

import asyncio
import logging

from starlette.concurrency import run_in_threadpool

from olvido.errors import OlvidoError
from olvido.requests.desk import Office
from olvido.requests.reminders import Configuration, remind

EVERY = 3600.0
"""Seconds between looks: what was told today is not told again, what is new is told within that."""
_log = logging.getLogger("uvicorn.error")


async def keep_reminding(office: Office, configured: Configuration) -> None:
    """Remind, look again later, and go on for as long as the service lasts."""
    while True:
        try:
            for one in await run_in_threadpool(remind, office, configured):
                if one.failure is not None:
                    _log.warning("reminders by %s: %s", one.way, one.failure)
        except (OlvidoError, OSError) as error:
            _log.warning("reminders: %s", error)
        except Exception:  # noqa: BLE001 - it is told in full, and nobody would see the task end
            _log.exception("reminders: what nobody thought of; they are looked at again")
        await asyncio.sleep(EVERY)
