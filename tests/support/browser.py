"""A real browser (Chromium, without a window) that tests drive by the DevTools protocol.

Chromium alone: a driver such as Playwright brings a Node of its own, and ten times the size of everything else.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

from tests.support.components import require
from tests.support.processes import running, wait_until

ANSWER_SECONDS = 60
"""So long everything may take on a machine that is busy with other tests."""
OPTIONS = (
    "--headless",
    "--no-sandbox",  # of root, who runs CI
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
    "--remote-debugging-port=0",
)


class Page:
    """One tab. `complaints` is what its console was told of: errors, refusals by the policy, exceptions."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self.complaints: list[str] = []
        self._trace: list[dict[str, Any]] = []
        self._traced = False
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Go to `url`; use `until` to wait for what is to be there."""
        self._call("Page.navigate", url=url)

    def ask(self, script: str) -> Any:
        """What the JavaScript expression gives, awaited; AssertionError when it throws."""
        found = self._call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, script: str) -> None:
        """Return once the expression is true; a page that is just going counts as false."""

        def holds() -> bool:
            try:
                return bool(self.ask(script))
            except AssertionError:
                return False

        try:
            wait_until(holds, seconds=ANSWER_SECONDS, what=script)
        except AssertionError as error:
            at, text = self.ask("[location.href, document.body.innerText.slice(0, 1000)]")
            raise AssertionError(f"{error}, at {at}:\n{text}\n{self.complaints}") from None

    def size(self, width: int, height: int, *, dark: bool = False) -> None:
        """How large its window is, and whether its user likes dark pages."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press and let go of a key: a character, or a name such as Escape, Tab or ArrowDown."""
        about = {"key": key, "modifiers": 8 if shift else 0}
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        codes = {"Escape": 27, "Tab": 9, "Enter": 13, "ArrowDown": 40, "ArrowUp": 38, "Backspace": 8}
        code = {"windowsVirtualKeyCode": codes[key], "code": key} if key in codes else {}
        self._call("Input.dispatchKeyEvent", type="keyDown", **about, **text, **code)
        self._call("Input.dispatchKeyEvent", type="keyUp", **about, **code)

    def type(self, text: str) -> None:
        """Type `text` into what has the focus."""
        self._call("Input.insertText", text=text)

    def offline(self, gone: bool) -> None:
        """Whether its network is gone: requests fail, and streams say nothing any more."""
        no = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self._call("Network.emulateNetworkConditions", offline=gone, **no)

    def screenshot(self) -> bytes:
        """A PNG of what is seen."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    @contextmanager
    def tasks(self) -> Iterator[list[float]]:
        """How many milliseconds of a core each task of the page took while the block ran; filled in at its end.

        Unlike what a page can measure by itself, other programs on the machine do not make them longer.
        """
        found: list[float] = []
        self._call("Tracing.start", transferMode="ReportEvents", traceConfig={"includedCategories": ["toplevel"]})
        yield found
        self._traced, self._trace = False, []
        self._call("Tracing.end")
        while not self._traced:
            self._note(json.loads(self._connection.recv(timeout=ANSWER_SECONDS)))
        main = {
            (event["pid"], event["tid"])
            for event in self._trace
            if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
        }
        found += [
            event["tdur"] / 1000 for event in self._trace if (event["pid"], event["tid"]) in main and "tdur" in event
        ]

    def cookies(self) -> list[dict[str, Any]]:
        """All cookies that the tab's page would send, those that scripts cannot see included."""
        found: list[dict[str, Any]] = self._call("Network.getCookies")["cookies"]
        return found

    def forget(self, cookie: str) -> None:
        """Take a cookie of the page away, as when it has expired."""
        self._call("Network.deleteCookies", name=cookie, url=self.ask("location.href"))

    def remember(self, cookie: dict[str, Any]) -> None:
        """Have a cookie again that `cookies` told of."""
        self._call(
            "Network.setCookie", **{name: cookie[name] for name in ("name", "value", "domain", "path", "httpOnly")}
        )

    def before(self, script: str) -> None:
        """Run the script in each page to come, before any of its own."""
        self._call("Page.addScriptToEvaluateOnNewDocument", source=script)

    def forget_files(self) -> None:
        """Ask for each file anew from now on, as a browser that has seen none."""
        self._call("Network.setCacheDisabled", cacheDisabled=True)

    def click(self, selector: str) -> None:
        """Press and let go of the mouse in the middle of an element, or of what lies over it."""
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        x, y = self.ask(f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({box})")
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def keep_downloads(self, folder: Path) -> None:
        """Let what the page has downloaded arrive in `folder`, without asking anybody."""
        self._call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            told = json.loads(self._connection.recv(timeout=ANSWER_SECONDS))
            if told.get("id") == number:
                assert "error" not in told, f"{method}: {told['error']}"
                result: dict[str, Any] = told["result"]
                return result
            self._note(told)

    def _note(self, told: dict[str, Any]) -> None:
        match told.get("method"):
            case "Log.entryAdded" if told["params"]["entry"]["level"] == "error":
                self.complaints.append(told["params"]["entry"]["text"])
            case "Tracing.dataCollected":
                self._trace += told["params"]["value"]
            case "Tracing.tracingComplete":
                self._traced = True
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(told["params"]["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if told["params"]["type"] in ("error", "assert"):
                self.complaints.append(json.dumps(told["params"]["args"]))


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A fresh browser with one tab, until the block ends."""
    port_file = folder / "chromium" / "DevToolsActivePort"
    argv = [require("chromium"), *OPTIONS, f"--user-data-dir={port_file.parent}", "about:blank"]

    def ready() -> bool:
        return port_file.exists() and len(port_file.read_text().splitlines()) == 2

    with running(argv, ready, folder / "chromium.log", seconds=ANSWER_SECONDS):
        port = port_file.read_text().splitlines()[0]
        tabs = httpx.get(f"http://127.0.0.1:{port}/json/list", trust_env=False).json()
        (tab,) = (tab for tab in tabs if tab["type"] == "page")
        with connect(tab["webSocketDebuggerUrl"], proxy=None, max_size=None) as connection:
            yield Page(connection)
