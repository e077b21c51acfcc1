"""A real Chromium without a window, driven over its DevTools pipe; needs nothing but Chromium."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_S = 60.0
LOWEST_PIPE = 10


def find_chromium() -> str | None:
    """Return where Chromium is installed; None where it is not."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Chromium:
    """One page of one browser; a context manager that ends it."""

    def __init__(self, width: int = 1366, height: int = 768) -> None:
        self._size = (width, height)
        self._numbers = itertools.count(1)
        self._unread = b""
        self.requests: list[str] = []
        self.errors: list[str] = []

    def __enter__(self) -> Chromium:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        # Above 4, as the child has them as 3 and 4.
        (to_browser, self._write), (self._read, from_browser) = (
            [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, LOWEST_PIPE) for end in os.pipe()]
            for _ in range(2)
        )
        width, height = self._size
        program = find_chromium()
        assert program is not None

        def pipes_in_place() -> None:
            os.dup2(to_browser, 3)
            os.dup2(from_browser, 4)

        self._process = subprocess.Popen(
            [
                program,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
                "--hide-scrollbars",
                f"--window-size={width},{height}",
                f"--user-data-dir={self._profile.name}",
                "--remote-debugging-pipe",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=pipes_in_place,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._session = ""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Network"):
            self.send(f"{domain}.enable")
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        return self

    def __exit__(self, *_error: object) -> None:
        self._session = ""
        self.send("Browser.close")
        self._process.wait(20)
        os.close(self._write)
        os.close(self._read)
        self._profile.cleanup()

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        number = self._write_message(method, parameters)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            answer = self._receive(deadline - time.monotonic())
            if answer is None:
                raise TimeoutError(method)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _write_message(self, method: str, parameters: dict[str, Any]) -> int:
        """Send a command without waiting; return its number."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        return number

    def _receive(self, seconds: float) -> dict[str, Any] | None:
        """Return the next message, or None where none comes in time; events are noted."""
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._read], [], [], max(0.0, seconds))
            if not ready:
                return None
            self._unread += os.read(self._read, 1 << 20)
        text, _, self._unread = self._unread.partition(b"\0")
        message = json.loads(text)
        parameters = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif message.get("method") == "Network.webSocketCreated":
            self.requests.append(parameters["url"])
        elif message.get("method") == "Page.javascriptDialogOpening":
            # Whether unsaved corrections may be left behind: they may.
            self._write_message("Page.handleJavaScriptDialog", {"accept": True})
        elif message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(parameters["exceptionDetails"]))
        elif message.get("method") == "Runtime.consoleAPICalled" and parameters["type"] == "error":
            self.errors.append(str([part.get("value") for part in parameters["args"]]))
        return message

    def open(self, url: str) -> None:
        self.send("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        answer = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def wait_for(self, expression: str, seconds: float = PATIENCE_S) -> None:
        """Wait until a JavaScript expression is true."""
        self.wait(lambda: self.evaluate(f"Boolean({expression})"), expression, seconds)

    def wait(self, found: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> None:
        """Wait until a function returns something true."""
        deadline = time.monotonic() + seconds
        while not found():
            if time.monotonic() > deadline:
                raise TimeoutError(what)
            self._receive(0.05)

    def text(self, selector: str) -> str:
        return self.evaluate(f"document.querySelector({selector!r}).innerText")

    def click(self, selector: str) -> None:
        """Click into the middle of an element with the mouse."""
        x, y = self.middle(selector)
        self.drag([(x, y)])

    def middle(self, selector: str) -> tuple[float, float]:
        box = self.evaluate(
            f"(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView("
            "{block: 'nearest'}); const b = e.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        return box[0], box[1]

    def drag(self, points: list[tuple[float, float]]) -> None:
        """Press the left button at the first point, move along all, let go at the last."""
        x, y = points[0]
        self._mouse("mouseMoved", x, y)
        self._mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
        for x, y in points[1:]:
            self._mouse("mouseMoved", x, y, button="left", buttons=1)
        self._mouse("mouseReleased", x, y, button="left", clickCount=1)

    def hover(self, x: float, y: float) -> None:
        self._mouse("mouseMoved", x, y)

    def wheel(self, x: float, y: float, delta: float) -> None:
        self._mouse("mouseMoved", x, y)
        self._mouse("mouseWheel", x, y, deltaX=0, deltaY=delta)

    def _mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def type(self, text: str) -> None:
        self.send("Input.insertText", text=text)

    def press(self, letter: str, ctrl: bool = False) -> None:
        self.press_key(letter, ord(letter.upper()), f"Key{letter.upper()}", ctrl)

    def press_key(self, key: str, number: int, code: str = "", ctrl: bool = False) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=code or key,
                windowsVirtualKeyCode=number,
                modifiers=2 if ctrl else 0,
            )

    def screenshot(self, path: Path | str | None = None) -> bytes:
        """Return what is on the screen as PNG, and write it to a file if one is named."""
        png = base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])
        if path is not None:
            Path(path).write_bytes(png)
        return png
