"""What flowctl does without a node: audit logs checked, tokens made."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from typing import Any

EXIT_OK, EXIT_FAILED = 0, 1


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Put these commands on flowctl's command line."""
    audit = commands.add_parser("audit", parents=[common], help="check an audit log")
    audit.add_argument("action", choices=["verify"])
    audit.add_argument(
        "files", nargs="+", type=pathlib.Path, metavar="FILE", help="its files, oldest first"
    )
    audit.add_argument(
        "--key", type=pathlib.Path, metavar="FILE", help="the file of the key it is written with"
    )
    token = commands.add_parser(
        "token", parents=[common], help="make a static token for [auth.NAME] tokens"
    )
    token.add_argument("name", help="whose it is: the principal's name")


def audit(options: argparse.Namespace) -> int:
    """Say whether every line is what was written, or name the first that is not."""
    from flowcore.audit import Broken, verify_files

    try:
        key = None if options.key is None else options.key.read_text().strip("\r\n").encode()
        verdict = verify_files(options.files, key)
    except Broken as error:
        return _failed(options, str(error))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return _failed(options, f"{getattr(error, 'filename', None) or options.key}: {reason}")
    found = {
        "lines": verdict.lines,
        "first": verdict.first,
        "last": verdict.last,
        "whole": verdict.whole,
    }
    if options.json:
        print(json.dumps(found, indent=2))
    elif not verdict.lines:
        print("no lines")
    else:
        begins = "from the first line ever" if verdict.whole else "older lines are not among them"
        print(f"{verdict.lines} lines, {verdict.first} to {verdict.last}, as written ({begins})")
    return EXIT_OK


def token(options: argparse.Namespace) -> int:
    """Make a token, and the line that makes it known."""
    from flowcore.secrets import new_token

    if not options.name.isascii() or not options.name.isprintable() or " " in options.name:
        raise ValueError(f"expected a name of visible ASCII, not {options.name!r}")
    made, digest = new_token()
    if options.json:
        print(json.dumps({"token": made, "name": options.name, "sha256": digest}, indent=2))
        return EXIT_OK
    print(made)
    line = f'{{ name = {json.dumps(options.name)}, sha256 = "{digest}" }}'
    print(f"shown this once; put under [auth.NAME] tokens:\n  {line}", file=sys.stderr)
    return EXIT_OK


def _failed(options: argparse.Namespace, message: str) -> int:
    if options.json:
        print(json.dumps({"error": {"message": message}}, indent=2))
    print(f"flowctl: {message}", file=sys.stderr)
    return EXIT_FAILED
