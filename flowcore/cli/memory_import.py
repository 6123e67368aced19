"""`flowctl memory import`: patterns out of a file of JSON lines.

A line that is wrong is named by its number and by what was expected of it; those before it are in.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import pathlib
import re
import sys
from collections.abc import Generator, Iterable
from typing import Any, BinaryIO, NoReturn

import attrs
import msgspec

from flowcore.cli.node_client import NodeClient, Refused

ROUTES = "flow.routes"
PAGE = 200
"""Lines that are sent at once."""
_WRONG = (400, 413, 422)
"""Statuses that say that what was sent is wrong, so that some of it may be right."""
_WHERE = re.compile(r"^patterns\[\d+\]: | - at `\$\.patterns\[\d+\][^`]*`")
"""Which of what was sent, as the node counts; whoever reads it counts lines."""


class Taken(msgspec.Struct):
    """The answer of `POST /memory/import` and `POST /memory/retrain`."""

    count: int


@attrs.define(eq=False)
class _Taking:
    """Lines on their way in."""

    node: NodeClient
    name: str
    count: int = 0
    """Patterns that are in."""
    lessons: bool = False

    def put(self, page: list[tuple[int, dict[str, Any]]]) -> None:
        """Have (number, object) of lines taken in. Raises Refused, naming the first that is wrong."""
        if not page:
            return
        try:
            body = {"patterns": [one for _, one in page]}
            self.count += self.node.post("/memory/import", body, Taken)[1].count
        except Refused as error:
            if error.status not in _WRONG or len(page) == 1:
                self._refused(page, error)
            # of these one is wrong: those before it are taken in
            self.put(page[: len(page) // 2])
            self.put(page[len(page) // 2 :])
            return
        self.lessons = self.lessons or any(one.get("namespace") == ROUTES for _, one in page)

    def _refused(self, page: list[tuple[int, dict[str, Any]]], error: Refused) -> NoReturn:
        first, last = page[0][0], page[-1][0]
        where = (
            f"{self.name}:{first}" if len(page) == 1 else f"{self.name}, lines {first} to {last}"
        )
        text = f"{where}: {_WHERE.sub('', str(error))} ({self.count} are in)"
        raise Refused(error.status, {**error.error, "message": text}) from None


def take_in(options: argparse.Namespace, node: NodeClient) -> tuple[Any, str]:
    """Have all lines taken in, and the gate trained anew where there were lessons among them.

    Raises ValueError for a line that is no JSON object, and Refused for one that the node does not take.
    """
    taking = _Taking(node, str(options.file or "standard input"))
    page: list[tuple[int, dict[str, Any]]] = []
    with _read(options.file) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                page.append((number, _parsed(line)))
            except ValueError as error:
                taking.put(page)
                raise ValueError(
                    f"{taking.name}:{number}: expected a JSON object{error} ({taking.count} are in)"
                ) from None
            if len(page) == PAGE:
                taking.put(page)
                page = []
    taking.put(page)
    done = f"{taking.count} patterns taken in"
    if not taking.lessons:
        return {"count": taking.count}, done
    node.post("/memory/retrain", {}, Taken)
    return {"count": taking.count}, f"{done}; the gate is being trained anew on them"


@contextlib.contextmanager
def _read(path: pathlib.Path | None) -> Generator[Iterable[bytes] | BinaryIO]:
    if path is None:
        yield sys.stdin.buffer
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    with file:
        yield file


def _parsed(line: bytes) -> dict[str, Any]:
    """The object of a line. Raises ValueError with what is wrong, to be put behind what was expected."""
    try:
        one = json.loads(line.decode(), parse_constant=_number, parse_float=_number)
    except UnicodeDecodeError as error:
        raise ValueError(f" in UTF-8: {error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f": {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise ValueError(", not one that is so deep") from None
    if not isinstance(one, dict):
        raise ValueError(f", not {line.decode().strip():.40}")
    return one


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f" of finite numbers, not {text:.40}")
    return number
