"""A real Chromium without a window, driven through its DevTools protocol."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.helpers.servers import wait_until

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# It is to talk to nobody but the pages that a test opens.
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--remote-debugging-port=0",
)


def missing_browser() -> str:
    """Why no test can have a browser; empty if one can."""
    return "" if _program() else f"none of {', '.join(_NAMES)} is installed"


def _program() -> str | None:
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


class Tab:
    """A page in the browser.

    Attributes:
        complaints: what the browser said of it: console errors, exceptions, blocked content.
        requested: the addresses that it has asked for.
        sent: what it has sent through WebSockets.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.complaints: list[str] = []
        self.requested: list[str] = []
        self.sent: list[str] = []
        self._last = 0
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._last += 1
        self.connection.send(json.dumps({"id": self._last, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.connection.recv(timeout=30))
            if message.get("id") == self._last:
                assert "error" not in message, message
                return dict(message["result"])
            self._heard(message.get("method", ""), message.get("params", {}))

    def open(self, url: str) -> None:
        """Go to a page."""
        self.call("Page.navigate", url=url)
        self.wait_for(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""

        def is_so() -> bool:
            try:
                return bool(self.run(f"Boolean({expression})"))
            except AssertionError as error:
                # It went to another page in the middle of the question.
                if any(said in str(error) for said in ("navigated or closed", "was destroyed")):
                    return False
                raise

        wait_until(is_so, what=expression)

    def text(self, selector: str = "main") -> str:
        """What a user sees of an element."""
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def type(self, selector: str, text: str) -> None:
        """Type into a field."""
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        self.call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press a key on the keyboard."""
        text = {"text": "\r"} if key == "Enter" else {}
        code = {"Enter": 13, "Tab": 9, "Escape": 27}[key]
        self.call(
            "Input.dispatchKeyEvent",
            **{"type": "keyDown", "key": key, "windowsVirtualKeyCode": code, **text},
        )
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def _heard(self, method: str, parameters: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(parameters["exceptionDetails"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.complaints.append(json.dumps(parameters["entry"]))
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
            self.complaints.append(json.dumps(parameters["args"]))
        elif method == "Network.requestWillBeSent":
            self.requested.append(parameters["request"]["url"])
        elif method == "Network.webSocketFrameSent":
            self.sent.append(parameters["response"]["payloadData"])
        elif method == "Network.webSocketCreated":
            self.requested.append(parameters["url"])


@contextmanager
def running_browser(folder: Path) -> Iterator[Tab]:
    """A tab of a browser of its own, whose profile lies in ``folder``."""
    program = _program()
    assert program
    profile = folder / "profile"
    with (folder / "browser.log").open("wb") as log:
        process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=log,
            stderr=log,
            # It writes to its home, whatever the profile.
            env={**os.environ, "HOME": str(folder)},
            start_new_session=True,
        )
    port = profile / "DevToolsActivePort"

    def ready() -> bool:
        assert process.poll() is None, (folder / "browser.log").read_text()
        return port.is_file() and len(port.read_text().splitlines()) == 2

    try:
        wait_until(ready, what="the browser")
        number, path = port.read_text().splitlines()
        address = f"ws://127.0.0.1:{number}"
        with connect(f"{address}{path}", max_size=None, ping_interval=None) as browser:
            browser.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
            targets = json.loads(browser.recv(timeout=30))["result"]["targetInfos"]
            (page,) = (one["targetId"] for one in targets if one["type"] == "page")
            with connect(
                f"{address}/devtools/page/{page}", max_size=None, ping_interval=None
            ) as connection:
                yield Tab(connection)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
