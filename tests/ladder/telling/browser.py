"""A real browser for tests of pages: Chromium without a window, driven by chromedriver's HTTP interface."""

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")


class Browser:
    """A window of one size."""

    def __init__(self, address: str, width: int, height: int, phone: bool) -> None:
        options: dict[str, Any] = {"binary": CHROMIUM, "args": ["--headless", "--no-sandbox", "--disable-gpu"]}
        if phone:  # a desktop's window is not allowed to be that narrow
            options["mobileEmulation"] = {"deviceMetrics": {"width": width, "height": height, "pixelRatio": 2}}
        else:
            options["args"].append(f"--window-size={width},{height}")
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self._address = address
        session = self._call("POST", "session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"session/{session['sessionId']}"

    def open(self, page: Path | str) -> None:
        """Load a page and wait for it."""
        address = page.resolve().as_uri() if isinstance(page, Path) else page
        self._call("POST", f"{self._session}/url", {"url": address})

    def run(self, script: str) -> Any:
        """What a script in the page returns."""
        return self._call("POST", f"{self._session}/execute/sync", {"script": script, "args": []})

    def press(self, keys: str) -> None:
        """Type on the element that has the focus."""
        (element,) = self._call("GET", f"{self._session}/element/active").values()
        self._call("POST", f"{self._session}/element/{element}/value", {"text": keys})

    def complaints(self) -> list[str]:
        """What the console shows: errors of scripts, refused and missing files."""
        return [entry["message"] for entry in self._call("POST", f"{self._session}/se/log", {"type": "browser"})]

    def picture(self, path: Path) -> None:
        """Save what the window shows."""
        path.write_bytes(base64.b64decode(self._call("GET", f"{self._session}/screenshot")))

    def close(self) -> None:
        """End the browser."""
        self._call("DELETE", self._session)

    def _call(self, method: str, path: str, content: dict[str, Any] | None = None) -> Any:
        data = None if content is None else json.dumps(content).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._address}/{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error


@contextmanager
def browser(width: int = 1400, height: int = 900, phone: bool = False) -> Iterator[Browser]:
    """Chromium, and the driver's process that is its parent, until the block ends."""
    assert DRIVER is not None
    with subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdout is not None
            line = next(line for line in driver.stdout if "successfully on port" in line)
            window = Browser(f"http://127.0.0.1:{line.rstrip('.' + chr(10)).split()[-1]}", width, height, phone)
            try:
                yield window
            finally:
                window.close()
        finally:
            driver.terminate()
            driver.wait(20)


def wait_for(window: Browser, script: str, seconds: float = 30.0) -> Any:
    """Ask again until a script returns something true. Fails after some seconds."""
    patience = time.monotonic() + seconds
    while not (found := window.run(script)):
        assert time.monotonic() < patience, f"waited {seconds} s for {script}"
        time.sleep(0.2)
    return found
