"""Chromium without a window, driven over its debugging pipe: what a page fetched and said."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --disable-dev-shm-usage "
    "--hide-scrollbars --remote-debugging-pipe"
).split()
PATIENCE = 60.0
"""Seconds that a page may take on a machine with other things to do."""

WIDE = """[...document.querySelectorAll("body *:not(svg *)")]
  .filter((e) => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1
    && e.checkVisibility() && !e.closest(".scroll, .hidden, .skip"))
  .map((e) => e.outerHTML.slice(0, 100))"""


def installed() -> str | None:
    """The browser of this machine, if it has one."""
    return next((found for found in map(shutil.which, BROWSERS) if found), None)


class Browser:
    """One browser with one tab and no history, closed at the end.

    Attributes:
        fetched: addresses that were asked for since `open`.
        said: what the console was told.
    """

    def __init__(self, home: Path) -> None:
        found = installed()
        assert found is not None
        self.fetched: list[str] = []
        self.said: list[str] = []
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        # The pipes are its descriptors 3 and 4, whatever they are here.
        command = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
        # (Not every shell takes numbers of two digits.)
        self._process = subprocess.Popen(
            ["bash", "-c", command, found, *QUIET, f"--user-data-dir={home}"],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._number, self._session, self._rest = 0, "", b""
        self._loaded = False
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self._ask(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)
        os.close(self._in)
        os.close(self._out)

    def size(self, width: int, height: int) -> None:
        """Look through a window of this size."""
        self._ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def sign_in(self, address: str, name: str, value: str) -> None:
        """Keep a cookie."""
        self._ask("Network.setCookie", name=name, value=value, url=address)

    def open(self, address: str) -> None:
        """Go to a page, and wait until all of it is there."""
        self.fetched.clear()
        self.said.clear()
        self._loaded = False
        self._ask("Page.navigate", url=address)
        self._until(lambda: self._loaded)

    def run(self, script: str) -> Any:
        """What an expression comes to on the page."""
        found = self._ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def click(self, selector: str) -> None:
        """Press the left button of the mouse in the middle of an element, wherever it stands."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{found}.scrollIntoView({{block: 'center'}})")
        box = "(({x, y, width, height}) => [x + width / 2, y + height / 2])"
        x, y = self.run(f"{box}({found}.getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self._ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Write into what has the focus."""
        self._ask("Input.insertText", text=text)

    def key(self, name: str) -> None:
        """Press and let go a key, as `Tab` or `Enter`."""
        code, text = {"Tab": (9, ""), "Enter": (13, "\r"), "ArrowDown": (40, "")}[name]
        told = {"key": name, "code": name, "windowsVirtualKeyCode": code}
        self._ask("Input.dispatchKeyEvent", type="keyDown", text=text, **told)
        self._ask("Input.dispatchKeyEvent", type="keyUp", **told)

    def then(self, act: Callable[[], None]) -> None:
        """Do what leads to another page, and wait until all of it is there."""
        self._loaded = False
        act()
        self._until(lambda: self._loaded)

    def wait(self, script: str) -> None:
        """Until an expression is true on the page."""
        end = time.monotonic() + PATIENCE
        while not self.run(script):
            assert time.monotonic() < end, f"never became true: {script}"
            time.sleep(0.2)

    def picture(self, path: Path) -> None:
        """The whole page as a PNG."""
        found = self._ask("Page.captureScreenshot", captureBeyondViewport=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def cookies(self) -> list[dict[str, Any]]:
        """What sites have left here."""
        return list(self._ask("Network.getCookies")["cookies"])

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        said: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            said["sessionId"] = self._session
        os.write(self._out, json.dumps(said).encode() + b"\0")
        answer: dict[str, Any] = {}

        def answered() -> bool:
            return bool(answer)

        self._until(answered, number=self._number, answer=answer)
        assert "error" not in answer, (method, answer)
        return dict(answer["result"])

    def _until(
        self,
        done: Callable[[], bool],
        number: int | None = None,
        answer: dict[str, Any] | None = None,
    ) -> None:
        while not done():
            message = self._read()
            if number is not None and message.get("id") == number:
                assert answer is not None
                answer.update(message)
            self._note(message.get("method"), message.get("params", {}))

    def _note(self, method: str | None, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.fetched.append(params["request"]["url"])
        elif method == "Runtime.consoleAPICalled":
            self.said.append(str([value.get("value") for value in params["args"]]))
        elif method == "Runtime.exceptionThrown":
            self.said.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.said.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Page.loadEventFired":
            self._loaded = True

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._in, 1 << 20)
            assert more, "the browser went away"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))
