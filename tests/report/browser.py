"""Headless Chromium over a pipe: real layout, real keys, every console message."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next((path for path in map(shutil.which, _NAMES) if path), None)
SECONDS_MAX = 120.0
_KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowDown": 40, "ArrowUp": 38}
_FLAGS = (
    *("--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check"),
    *("--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
    "--host-resolver-rules=MAP * ~NOTFOUND",  # there is no network
)


class Browser:
    """A running Chromium, spoken to in the DevTools protocol."""

    def __init__(self, reader: int, writer: int) -> None:
        self._reader, self._writer = reader, writer
        self._number = 0
        self._rest = b""
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """The answer to a command; events that come before it are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + SECONDS_MAX
        while b"\0" not in self._rest:
            if not select.select([self._reader], [], [], deadline - time.monotonic())[0]:
                raise TimeoutError("Chromium does not answer")
            part = os.read(self._reader, 1 << 20)
            assert part, "Chromium has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        received: dict[str, Any] = json.loads(message)
        return received

    def open(
        self, file: Path, *, width: int, height: int = 900, script: bool = True, anchor: str = ""
    ) -> Tab:
        """A page in a tab of its own, loaded; ``script`` says whether its scripts may run."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{domain}.enable")
        tab.call("Emulation.setScriptExecutionDisabled", value=not script)
        tab.resize(width, height)
        tab.call("Page.navigate", url=file.resolve().as_uri() + anchor)
        tab.wait_for("Page.loadEventFired")
        return tab


class Tab:
    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **params)

    def wait_for(self, event: str) -> None:
        while not any(self._own(event)):
            self._browser.events.append(self._browser.receive())

    def resize(self, width: int, height: int = 900) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, *keys: str) -> None:
        """Keys on what has the focus."""
        for key in keys:
            text = {"Enter": "\r", " ": " "}.get(key, key if len(key) == 1 else "")
            code = _KEYS.get(key, ord(key) if len(key) == 1 else 0)
            down = {"key": key, "windowsVirtualKeyCode": code, "text": text}
            self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **down)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def screenshot(self, file: Path, *, whole: bool = True) -> None:
        """A PNG of the page, or of what the window shows."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=whole, format="png")
        file.write_bytes(base64.b64decode(shot["data"]))

    def complaints(self) -> list[str]:
        """Uncaught errors, console messages and what the browser itself objects to."""
        return [
            json.dumps(event["params"])
            for name in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
            for event in self._own(name)
        ]

    def addresses(self) -> list[str]:
        """What was asked of a network or a disk."""
        requests = self._own("Network.requestWillBeSent")
        return [event["params"]["request"]["url"] for event in requests]

    def _own(self, name: str) -> Iterator[dict[str, Any]]:
        for event in self._browser.events:
            if event.get("method") == name and event.get("sessionId") == self._session:
                yield event


@contextlib.contextmanager
def chromium(profile: Path, flags: Sequence[str] = ()) -> Iterator[Browser]:
    """A Chromium of its own, ended with the block."""
    assert PROGRAM is not None
    to_read, answers = os.pipe()
    commands, to_write = os.pipe()

    def numbered() -> None:  # the protocol's pipes are file descriptors 3 and 4
        apart = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (commands, answers)]
        for number, fd in enumerate(apart, start=3):
            os.dup2(fd, number)

    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    process = subprocess.Popen(
        [PROGRAM, *_FLAGS, *root, *flags, f"--user-data-dir={profile}", "about:blank"],
        preexec_fn=numbered,
        pass_fds=(3, 4),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(commands)
    os.close(answers)
    browser = Browser(to_read, to_write)
    try:
        yield browser
        browser.call("Browser.close")
        process.wait(SECONDS_MAX)
    finally:
        process.kill()
        process.wait()
        os.close(to_read)
        os.close(to_write)
