"""`flowctl memory`: shared memory from a terminal, out to a file and in again."""

from __future__ import annotations

import argparse
import contextlib
import json
import pathlib
import sys
from collections.abc import Generator, Iterator
from typing import Any, TextIO

import msgspec

from flowcore.cli.memory_import import Taken, take_in
from flowcore.cli.node_client import NodeClient
from flowcore.cli.routing import called
from flowcore.cli.tables import table


class Exported(msgspec.Struct):
    """The answer of `POST /memory/export`."""

    patterns: list[dict[str, Any]]
    cursor: str | None


class Reembedded(msgspec.Struct):
    """The answer of `POST /memory/reembed`: what one request has done."""

    count: int
    lessons: int
    complete: bool


def add_command(commands: Any, common: argparse.ArgumentParser) -> None:
    """Put the command on flowctl's command line."""
    memory = commands.add_parser("memory", parents=[common], help="shared memory")
    actions = memory.add_subparsers(dest="action", required=True, metavar="ACTION")
    space = argparse.ArgumentParser(add_help=False, parents=[common])
    space.add_argument("-n", "--namespace", default="shared", help="whose, or what about")

    put = actions.add_parser("put", parents=[space], help="remember a text")
    put.add_argument("text")
    put.add_argument("--as", dest="key", metavar="KEY", help="a name to get it by")
    put.add_argument("--value", metavar="JSON", help="what is kept beside it")
    put.add_argument("--ttl", type=float, metavar="SECONDS", help="how long; unset: for ever")
    search = actions.add_parser("search", parents=[space], help="find what is like a text")
    search.add_argument("query")
    search.add_argument("-k", type=int, default=10, help="how many at most")
    search.add_argument("--after", metavar="TIME", help="put at or after, such as 2026-11-29")
    search.add_argument("--before", metavar="TIME", help="put before")
    get = actions.add_parser("get", parents=[space], help="what was put under a key")
    get.add_argument("key")
    for read in (search, get):
        read.add_argument(
            "--level",
            choices=("linearizable", "leased", "stale"),
            default="linearizable",
            help="what the answer is worth; stale: what this node has, whoever else is there",
        )
    delete = actions.add_parser("delete", parents=[space], help="forget what is under a key")
    delete.add_argument("key")

    out = actions.add_parser("export", parents=[common], help="write patterns as JSON lines")
    out.add_argument("-n", "--namespace", help="only these; unset: all, those of routes too")
    out.add_argument("--vectors", action="store_true", help="with the vectors, in base64")
    out.add_argument("file", nargs="?", type=pathlib.Path, help="unset: standard output")
    take = actions.add_parser("import", parents=[common], help="read patterns as JSON lines")
    take.add_argument("file", nargs="?", type=pathlib.Path, help="unset: standard input")
    actions.add_parser(
        "reembed", parents=[common], help="embed anew what another embedder has embedded"
    )
    actions.add_parser(
        "retrain", parents=[common], help="train the gate anew on the lessons that are kept"
    )


_STALE = "\n(stale: what this node has, and others may have more)"


def memory(options: argparse.Namespace, node: NodeClient) -> tuple[Any, str]:
    """The answer, and for a person. Raises ValueError, Refused, Unreachable."""
    return _ACTIONS[options.action](options, node)


def _put(options: argparse.Namespace, node: NodeClient) -> tuple[Any, str]:
    arguments = {"text": options.text, "namespace": options.namespace}
    if options.key is not None:
        arguments["key"] = options.key
    if options.value is not None:
        try:
            arguments["value"] = json.loads(options.value)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"--value: expected JSON: {error}") from None
    if options.ttl is not None:
        arguments["ttl"] = options.ttl
    done = called(node, "memory.put", arguments)
    word = "remembered" if done["created"] else "replaced"
    return done, f"{word}: {done['key']} in {done['namespace']}"


def _search(options: argparse.Namespace, node: NodeClient) -> tuple[Any, str]:
    arguments = {"query": options.query, "namespace": options.namespace, "k": options.k}
    for name in ("after", "before"):
        if getattr(options, name) is not None:
            arguments[name] = getattr(options, name)
    if options.level != "linearizable":
        arguments["level"] = options.level
    done = called(node, "memory.search", arguments)
    rows = [
        [f"{one['similarity']:.3f}", one["key"], one["time"][:19], one["text"][:100]]
        for one in done["found"]
    ]
    text = table(["similar", "key", "put", "text"], rows) if rows else "nothing is like it"
    return done, f"{text}{_STALE if done.get('level') == 'stale' else ''}"


def _get(options: argparse.Namespace, node: NodeClient) -> tuple[Any, str]:
    arguments = {"key": options.key, "namespace": options.namespace}
    if options.level != "linearizable":
        arguments["level"] = options.level
    done = called(node, "memory.get", arguments)
    value = f"\n{json.dumps(done['value'])}" if "value" in done else ""
    return done, f"{done['text']}{value}{_STALE if done.get('level') == 'stale' else ''}"


def _delete(options: argparse.Namespace, node: NodeClient) -> tuple[Any, str]:
    done = called(node, "memory.delete", {"key": options.key, "namespace": options.namespace})
    word = "forgotten" if done["deleted"] else "was not there"
    return done, f"{word}: {options.key}"


def _export(options: argparse.Namespace, node: NodeClient) -> tuple[Any, str]:
    count = 0
    with _written(options.file) as file:
        for line in _exported(options, node):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            count += 1
    if options.file is None:
        print(f"{count} patterns", file=sys.stderr)
        return {"count": count}, ""
    return {"count": count}, f"{count} patterns written to {options.file}"


def _exported(options: argparse.Namespace, node: NodeClient) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    while True:
        body = {"namespace": options.namespace, "cursor": cursor, "vectors": options.vectors}
        _, page = node.post("/memory/export", body, Exported)
        yield from page.patterns
        cursor = page.cursor
        if cursor is None:
            return


@contextlib.contextmanager
def _written(path: pathlib.Path | None) -> Generator[TextIO]:
    """The file to write: put in its place when it is whole."""
    if path is None:
        yield sys.stdout
        return
    beside = path.with_name(path.name + ".new")
    try:
        with beside.open("w", encoding="utf-8") as file:
            yield file
        beside.replace(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        beside.unlink(missing_ok=True)


def _reembed(options: argparse.Namespace, node: NodeClient) -> tuple[Any, str]:
    del options
    patterns = lessons = 0
    while True:
        _, done = node.post("/memory/reembed", {}, Reembedded)
        patterns, lessons = patterns + done.count, lessons + done.lessons
        if done.complete:
            break
        print(f"{patterns} patterns and {lessons} lessons so far", file=sys.stderr)
    told = f"{patterns} patterns and {lessons} lessons embedded anew"
    if patterns or lessons:
        told += "; the gate is being trained anew"
    return {"count": patterns, "lessons": lessons}, told


def _retrain(options: argparse.Namespace, node: NodeClient) -> tuple[Any, str]:
    del options
    answer, done = node.post("/memory/retrain", {}, Taken)
    return answer, f"the gate is being trained anew on what is kept of {done.count} lessons"


_ACTIONS = {
    "put": _put,
    "search": _search,
    "get": _get,
    "delete": _delete,
    "export": _export,
    "import": take_in,
    "reembed": _reembed,
    "retrain": _retrain,
}
