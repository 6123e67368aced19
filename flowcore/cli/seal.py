"""`flowctl seal`: keys that seal, and secrets that are sealed for one setting of a configuration."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

VARIABLE = "FLOW_SEAL_KEY"
EXIT_OK, EXIT_FAILED = 0, 1


def add_command(commands: Any, common: argparse.ArgumentParser) -> None:
    """Put the command on flowctl's command line."""
    parser = commands.add_parser(
        "seal",
        parents=[common],
        help="seal a secret for one setting, so that it may stand in the configuration",
        description="Reads a secret from standard input and prints what to write in its place, which only"
        " the node's seal key opens, at this setting only. Or makes such a key.",
    )
    parser.add_argument(
        "setting", nargs="?", help="the setting that it is for, such as auth.idp.secret"
    )
    parser.add_argument(
        "--key",
        type=pathlib.Path,
        metavar="FILE",
        help=f"the file of the seal key (default: the key in ${VARIABLE})",
    )
    parser.add_argument(
        "--new-key", type=pathlib.Path, metavar="FILE", help="make a key, in a new file"
    )
    parser.add_argument(
        "--add-key",
        type=pathlib.Path,
        metavar="FILE",
        help="make a key that seals from now on; the file's older ones still open",
    )
    parser.add_argument(
        "--again",
        type=pathlib.Path,
        metavar="CONFIG",
        help="seal all sealed values of a configuration again, with the newest key",
    )


def seal(options: argparse.Namespace) -> int:
    """Do what was asked. Raises ValueError for words that make no sense."""
    asked = [
        one
        for one in ("setting", "new_key", "add_key", "again")
        if getattr(options, one) is not None
    ]
    if len(asked) != 1:
        raise ValueError("seal needs one of SETTING, --new-key, --add-key and --again")
    try:
        if asked == ["new_key"]:
            return _new_key(options.new_key)
        if asked == ["add_key"]:
            return _add_key(options.add_key)
        if asked == ["again"]:
            return _again(options)
        return _seal(options)
    except FileExistsError:
        print(
            f"flowctl: {options.new_key} exists; for one key more: flowctl seal --add-key FILE",
            file=sys.stderr,
        )
    except OSError as error:
        print(f"flowctl: {error.filename}: {error.strerror}", file=sys.stderr)
    except Unusable as error:
        print(f"flowctl: {error}", file=sys.stderr)
    return EXIT_FAILED


class Unusable(Exception):
    """A file or a variable that does not hold what it should."""


def _new_key(path: pathlib.Path) -> int:
    from flowcore.secrets import new_seal_key, write_private

    write_private(path, f"{new_seal_key()}\n".encode())
    print(f"{path}: a new seal key; name it in the configuration:", file=sys.stderr)
    print(f"  [node]\n  seal_key = {{ file = {json.dumps(str(path))} }}", file=sys.stderr)
    return EXIT_OK


def _add_key(path: pathlib.Path) -> int:
    from flowcore.secrets import new_seal_key, write_private

    older = _text_of(path)
    _keys(older, str(path))
    write_private(path, f"{new_seal_key()}\n{older}".encode(), replace=True)
    print(f"{path}: a new seal key before the older ones; next:", file=sys.stderr)
    print(f"  flowctl seal --key {path} --again CONFIG", file=sys.stderr)
    return EXIT_OK


def _seal(options: argparse.Namespace) -> int:
    from flowcore.secrets import refuse_sample, seal

    keys = _keys_of(options)
    setting = _setting(options.setting)
    if sys.stdin.isatty():
        secret = getpass.getpass(f"the secret for {setting}: ")
    else:
        try:
            secret = sys.stdin.read().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise Unusable("the secret is not UTF-8 text") from None
    if not secret:
        raise Unusable("there is no secret on standard input")
    try:
        refuse_sample(secret)
    except ValueError as error:
        raise Unusable(str(error)) from None
    value = seal(secret, setting, keys)
    print(json.dumps({"sealed": value}) if options.json else f'{{ sealed = "{value}" }}')
    return EXIT_OK


def _again(options: argparse.Namespace) -> int:
    """Seal each sealed value of a file anew, in its place; nothing else of the file changes."""
    from flowcore.config import dotted, load
    from flowcore.errors import FlowError
    from flowcore.secrets import seal, write_private

    keys = _keys_of(options)
    path: pathlib.Path = options.again
    try:
        tree = load(path).tree
    except FlowError as error:
        raise Unusable(str(error)) from None
    text = path.read_text()
    count = 0
    for place, value in _sealed_values(tree, ()):
        try:
            made = seal(keys.open(value, dotted(place)), dotted(place), keys)
        except ValueError as error:
            raise Unusable(f"{path}: {dotted(place)}: {error}") from None
        text = text.replace(value, made)
        count += 1
    write_private(path, text.encode(), mode=path.stat().st_mode & 0o777, replace=True)
    print(f"{path}: {count} sealed again with key {keys.ids[0]}", file=sys.stderr)
    return EXIT_OK


def _sealed_values(
    value: Any, path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, Mapping):
        if value.keys() == {"sealed"} and isinstance(value["sealed"], str):
            yield path, value["sealed"]
        for key, one in value.items():
            yield from _sealed_values(one, (*path, key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _sealed_values(one, (*path, index))


def _setting(text: str) -> str:
    """A dotted path as errors and the node write it. Raises ValueError for what is none."""
    from flowcore.config import as_path

    return as_path(text)


def _keys_of(options: argparse.Namespace) -> Any:
    if options.key is not None:
        return _keys(_text_of(options.key), str(options.key))
    text = os.environ.get(VARIABLE)
    if not text:
        raise ValueError(f"seal needs --key FILE, or the key in ${VARIABLE}")
    return _keys(text, f"${VARIABLE}")


def _keys(text: str, where: str) -> Any:
    from flowcore.secrets import read_seal_keys

    try:
        return read_seal_keys(text)
    except ValueError as error:
        raise Unusable(f"{where}: {error}") from None


def _text_of(path: pathlib.Path) -> str:
    from flowcore.secrets import read_private

    try:
        return read_private(path).decode()
    except UnicodeDecodeError:
        raise Unusable(f"{path}: is not UTF-8 text") from None
    except ValueError as error:
        raise Unusable(f"{path}: {error}") from None
