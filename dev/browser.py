"""A headless Chromium of its own, as a person with a desktop or a phone has it.

For the browser tests and the pictures of the documentation. Debian's `chromium` and `chromium-driver`; the
profile is a folder that goes with it.
"""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from dev.servers import ServerError
from dev.servers.folders import make_folder, remove_folder

T = TypeVar("T")

DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class Screen:
    """What somebody looks at: CSS pixels, and how many of the screen's make one."""

    width: int
    height: int
    is_phone: bool = False
    density: float = 1.0


DESKTOP, PHONE = Screen(1280, 800), Screen(390, 844, is_phone=True, density=2.0)


def without_login(url: str) -> str:
    """`http://user:password@host/` as `http://host/`."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


class Browser:
    """One window. `with Browser() as browser: browser.open(url)`."""

    def __init__(self, screen: Screen = DESKTOP) -> None:
        binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
        if binary is None or driver is None:
            raise ServerError("no chromium or chromedriver: apt-get install chromium chromium-driver")
        self._folder = make_folder("browser")
        options = ChromeOptions()
        options.binary_location = binary
        arguments = (
            "--headless=new", "--hide-scrollbars", "--disable-gpu", "--no-first-run",
            # A container's /dev/shm is small.
            "--disable-dev-shm-usage",
            f"--user-data-dir={self._folder}",
        )  # fmt: skip
        for argument in arguments:
            options.add_argument(argument)
        if os.getuid() == 0:  # its sandbox refuses root
            options.add_argument("--no-sandbox")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        try:
            self.driver = Chrome(options, Service(driver, log_output=os.devnull))
        except BaseException:
            remove_folder(self._folder)
            raise
        self.look_at(screen)

    def look_at(self, screen: Screen, *, is_dark: bool = False) -> None:
        """Change to another screen, or to the other colours."""
        self.screen = screen
        self._command(
            "Emulation.setDeviceMetricsOverride",
            width=screen.width, height=screen.height,
            deviceScaleFactor=screen.density, mobile=screen.is_phone,
        )  # fmt: skip
        scheme = "dark" if is_dark else "light"
        self._command(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )

    def open(self, url: str) -> None:
        """A URL may carry a login, `http://user:password@host/`."""
        self.driver.get(url)

    def log_in(self, url: str) -> str:
        """Answer the place's question for a login with the one that the URL carries, which the browser then
        remembers. The URL without it, as somebody has it who typed the login."""
        self.open(url)
        return without_login(url)

    def find(self, css: str) -> WebElement:
        """The first element of a CSS selector, as soon as there is one. Raises `TimeoutException`."""
        return self.until(lambda: self.driver.find_element(By.CSS_SELECTOR, css), f"an element {css}")

    def find_all(self, css: str) -> list[WebElement]:
        """All elements of a CSS selector that there are now."""
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def text(self, css: str) -> str:
        """What is to be read there; an element that is just being replaced is looked for again."""
        return self.until(lambda: self.driver.find_element(By.CSS_SELECTOR, css).text, f"words at {css}")

    def until(
        self, holds: Callable[[], T], what: str, timeout_s: float = DEADLINE_S, *, every_s: float = 0.1
    ) -> T:
        """What `holds` gives, as soon as that is true. Raises `TimeoutException` with `what` and the page."""
        ignored = (NoSuchElementException, StaleElementReferenceException)
        waiting = WebDriverWait(self.driver, timeout_s, poll_frequency=every_s, ignored_exceptions=ignored)
        try:
            return waiting.until(lambda _: holds())
        except Exception as exc:
            exc.add_note(f"waited for {what} at {without_login(self.driver.current_url)}")
            raise

    def runs(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """What the browser has complained about since it was asked last: scripts, policies, missing files."""
        return [one["message"] for one in self.driver.get_log("browser") if one["level"] == "SEVERE"]

    def picture(self, path: Path, *, is_whole: bool = False, height: int | None = None) -> None:
        """A PNG of what is to be seen; `is_whole`: of the page to its end, or to `height`."""
        options: dict[str, Any] = {"format": "png"}
        if is_whole or height:
            size = self._command("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": self.screen.width, "height": min(size["height"], height or 1e6)}
            options |= {"clip": {**clip, "scale": 1}, "captureBeyondViewport": True}
        path.write_bytes(base64.b64decode(self._command("Page.captureScreenshot", **options)["data"]))

    def close(self) -> None:
        self.driver.quit()
        remove_folder(self._folder)

    def _command(self, name: str, **parameters: Any) -> Any:
        return self.driver.execute_cdp_cmd(name, parameters)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
