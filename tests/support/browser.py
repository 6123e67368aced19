"""A headless Chromium of the machine, driven by Playwright, that tells all that goes wrong in a page."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

import attrs
import pytest

T = TypeVar("T")

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium: pages are not looked at in a browser"
)
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
SOON = 45_000
"""Milliseconds that a page may take to show what it is waited for."""


@attrs.define(eq=False)
class Browser:
    """A browser without a history, whose pages are watched."""

    context: Any
    wrong: list[str] = attrs.field(factory=list)
    """Errors of scripts, lines of the console that complain, and requests to elsewhere."""
    asked: list[str] = attrs.field(factory=list)
    """Every URL that was asked for."""

    def open(self, url: str) -> Any:
        """A page at a URL."""
        page = self.context.new_page()
        page.set_default_timeout(SOON)
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("console", lambda message: self._heard(message))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(url)
        return page

    def close_pages(self) -> None:
        """Close all pages but an empty one, without which the browser would end."""
        kept = self.context.new_page()
        for page in self.context.pages:
            if page is not kept:
                page.close()

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"{message.type}: {message.text}")


@contextlib.contextmanager
def nothing_wrong_in(browser: Browser, *, but: Sequence[str] = ()) -> Generator[None]:
    """Within, no script fails, nothing complains, no policy is broken, and only this machine is asked.

    `but` are ends of complaints that are none. Pages that were opened are closed at the end.
    """
    browser.wrong.clear()
    browser.asked.clear()
    yield
    browser.close_pages()
    assert [one for one in browser.wrong if not one.rstrip(".").endswith(tuple(but))] == []
    own = ("http://127.0.0.1:", "https://127.0.0.1:")
    assert all(one.startswith(own) for one in browser.asked)


def until(look: Callable[[], T], good: Callable[[T], bool]) -> T:
    """Look again and again until what is seen is good, and give it."""
    last = None
    ends = time.monotonic() + SOON / 1000
    while time.monotonic() < ends:
        last = look()
        if good(last):
            return last
        time.sleep(0.05)
    raise AssertionError(f"not within {SOON / 1000:g} s: {last!r}")


def until_is(look: Callable[[], T], wanted: T) -> None:
    """Look again and again until what is seen is this: a page draws what it was told when it comes to it."""
    until(look, lambda seen: seen == wanted)


@contextlib.contextmanager
def chromium(
    folder: pathlib.Path, *, more: Sequence[str] = (), **settings: Any
) -> Generator[Browser]:
    """A Chromium whose profile is a new folder; `more` are arguments of its own, `settings` are Playwright's
    of a context."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(folder / "profile"),
            executable_path=CHROMIUM,
            args=[*ARGUMENTS, *more],
            headless=True,
            **{"viewport": {"width": 1280, "height": 860}, **settings},
        )
        try:
            yield Browser(context)
        finally:
            context.close()
