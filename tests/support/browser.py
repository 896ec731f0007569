"""A headless Chromium driven over its DevTools pipe: JSON messages, each ended by a zero byte, on
the file descriptors 3 and 4.

In: a page on disk. Out: what the page evaluates, its console and requests, pictures. Needs no
driver and no package.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PROGRAMS = ("chromium-headless-shell", "chromium", "google-chrome")
PHONE = 600  # pixels; a narrower window is one
# far more than any answer takes, so that a browser that hangs ends the test and not the run
ANSWER_S = 30.0


@dataclass
class Seen:
    """What the page did since it was opened."""

    console: list[str] = field(default_factory=list)  # messages, warnings and errors of any source
    requests: list[str] = field(default_factory=list)  # addresses


class Browser:
    """One browser with one page."""

    def __init__(self, profile: Path) -> None:
        program = next(
            path for path in (shutil.which(name) for name in PROGRAMS) if path is not None
        )
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()

        def connect() -> None:
            to, back = (
                os.dup(to_browser),
                os.dup(from_browser),
            )  # 3 and 4 themselves may be taken by one of the pipes
            os.dup2(to, 3)
            os.dup2(back, 4)

        flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
        ]
        self._process = subprocess.Popen(
            [program, *flags, "about:blank"],
            pass_fds=(3, 4),
            preexec_fn=connect,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._number = 0
        self._rest = b""
        self._events: list[str] = []
        self.seen = Seen()
        target = self._ask("Target.createTarget", {"url": "about:blank"}, session=None)["targetId"]
        self._session = self._ask(
            "Target.attachToTarget", {"targetId": target, "flatten": True}, session=None
        )["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._read)
        os.close(self._write)

    def open(
        self,
        page: Path,
        *,
        width: int = 1280,
        height: int = 900,
        dark: bool = False,
        still: bool = False,
        scale: float = 1.0,
    ) -> None:
        """Show a page in a window of this size, to a reader with these wishes; returns when it has
        loaded.

        Args:
            still: whether the reader wants no motion.
            scale: device pixels for each of the page's.
        """
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < PHONE,
        )
        wishes = {
            "prefers-color-scheme": "dark" if dark else "light",
            "prefers-reduced-motion": "reduce" if still else "no-preference",
        }
        self.ask(
            "Emulation.setEmulatedMedia",
            features=[{"name": name, "value": value} for name, value in wishes.items()],
        )
        self.seen = Seen()
        self._events.clear()
        self.ask("Page.navigate", url=page.absolute().as_uri())
        while "Page.loadEventFired" not in self._events:
            self._receive()

    def evaluate(self, script: str) -> Any:
        """Return what a script gives, awaited."""
        answer = self.ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key."""
        codes = {"Tab": 9, "Enter": 13, " ": 32}
        for kind in ("rawKeyDown", "char", "keyUp") if key != "Tab" else ("rawKeyDown", "keyUp"):
            text = {"text": "\r" if key == "Enter" else key} if kind == "char" else {}
            self.ask(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=codes[key],
                **text,
            )

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Write the page as PNG, all of it or what the window shows."""
        data = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the page's answer to a DevTools command."""
        return self._ask(method, parameters, self._session)

    def _ask(self, method: str, parameters: dict[str, Any], session: str | None) -> dict[str, Any]:
        self._number += 1
        message = {
            "id": self._number,
            "method": method,
            "params": parameters,
            **({"sessionId": session} if session else {}),
        }
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result

    def _receive(self) -> dict[str, Any]:
        until = time.monotonic() + ANSWER_S
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(until - time.monotonic(), 0))
            chunk = os.read(self._read, 1 << 20) if ready else b""
            assert chunk, "the browser does not answer"
            self._rest += chunk
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._note(message)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        event, given = message.get("method", ""), message.get("params", {})
        if event:
            self._events.append(event)
        if event == "Runtime.consoleAPICalled":
            self.seen.console.append(" ".join(str(part.get("value")) for part in given["args"]))
        elif event == "Runtime.exceptionThrown":
            self.seen.console.append(given["exceptionDetails"]["text"])
        elif event == "Log.entryAdded":
            self.seen.console.append(given["entry"]["text"])
        elif event == "Network.requestWillBeSent":
            self.seen.requests.append(given["request"]["url"])
