"""`flowctl keys`: the keys of a ring that requests are signed with: made, exchanged, retired, revoked."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Generator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from flowcore.cli.tables import table

if TYPE_CHECKING:
    from flowcore.signing import Key, KeyRing

T = TypeVar("T")
EXIT_OK, EXIT_FAILED = 0, 1
_LARGEST = 256 << 10
OVERLAP, BEGIN = "7d", "1m"


def add_command(commands: Any, common: argparse.ArgumentParser) -> None:
    """Put the command on flowctl's command line."""
    keys = commands.add_parser(
        "keys",
        parents=[common],
        help="the key ring of signed requests: make keys, exchange, retire, revoke them",
        description="Changes the file of a key ring ([auth.NAME] type hmac, keys) in one step; a node that"
        " runs takes it over within a second. Secrets are never printed.",
    )
    actions = keys.add_subparsers(dest="action", required=True, metavar="ACTION")
    ring = argparse.ArgumentParser(add_help=False)
    ring.add_argument("ring", type=pathlib.Path, metavar="RING", help="the file of the key ring")
    ids = argparse.ArgumentParser(add_help=False)
    ids.add_argument("ids", nargs="+", metavar="ID", help="ids of keys")
    copy = argparse.ArgumentParser(add_help=False)
    copy.add_argument(
        "--copy",
        type=pathlib.Path,
        metavar="FILE",
        help="put the new keys into this ring, too: the client's, who signs with the newest",
    )

    actions.add_parser("list", parents=[common, ring], help="the keys, and whether they are active")
    new = actions.add_parser("new", parents=[common, ring, copy], help="make a key")
    new.add_argument("principal", help="whose requests it signs")
    new.add_argument("--id", help="its id (default: the principal's name and the day)")
    new.add_argument("--role", action="append", default=[], metavar="ROLE")
    new.add_argument("--scope", action="append", default=[], metavar="SCOPE")
    new.add_argument("--not-before", metavar="WHEN", help="when it begins to be believed")
    new.add_argument("--not-after", metavar="WHEN", help="when it ends to be")
    rotate = actions.add_parser(
        "rotate",
        parents=[common, ring, copy],
        help="for every principal, or those named: a new key, and an end for the older ones",
    )
    rotate.add_argument("principals", nargs="*", metavar="PRINCIPAL")
    rotate.add_argument(
        "--overlap",
        default=OVERLAP,
        metavar="TIME",
        help=f"how long the older keys are believed beside the new ones (default: {OVERLAP})",
    )
    rotate.add_argument(
        "--begin",
        default=BEGIN,
        metavar="TIME",
        help="when, from now, the new keys begin: until then the node has read them, and clocks agree"
        f" (default: {BEGIN})",
    )
    retire = actions.add_parser(
        "retire", parents=[common, ring, ids], help="let keys end: now, or at a time"
    )
    retire.add_argument(
        "--at", metavar="WHEN", help="2026-12-08T00:00:00Z, or a time from now, such as 36h"
    )
    actions.add_parser(
        "revoke",
        parents=[common, ring, ids],
        help="believe keys no more, and keep them in the file",
    )
    actions.add_parser(
        "prune", parents=[common, ring], help="take out of the file what has ended or was revoked"
    )


def keys(options: argparse.Namespace) -> int:
    """Do what was asked. Raises ValueError for words that make no sense."""
    steps = {
        "list": _list,
        "new": _new,
        "rotate": _rotate,
        "retire": _retire,
        "revoke": _revoke,
        "prune": _prune,
    }
    try:
        return steps[options.action](options, time.time())
    except Unusable as error:
        message = str(error)
    except OSError as error:
        message = f"{error.filename}: {error.strerror}"
    if options.json:
        print(json.dumps({"error": {"message": message}}, indent=2))
    print(f"flowctl: {message}", file=sys.stderr)
    return EXIT_FAILED


class Unusable(Exception):
    """A file that does not hold what it should, or cannot be changed as it was asked."""


# ---- what can be asked


def _list(options: argparse.Namespace, now: float) -> int:
    ring = _read(options.ring)
    rows = [_row(one, now) for one in ring]
    if options.json:
        names = ("id", "principal", "state", "not_before", "not_after")
        print(json.dumps({"keys": [dict(zip(names, row, strict=True)) for row in rows]}, indent=2))
    else:
        print(table(["key", "principal", "state", "from", "until"], rows))
    return EXIT_OK


def _new(options: argparse.Namespace, now: float) -> int:
    from flowcore.signing import keys_in, new_key, with_keys

    begin = None if options.not_before is None else when(options.not_before, now)
    end = float("inf") if options.not_after is None else when(options.not_after, now)
    with _editing(options.ring, missing=True) as edit:
        made = _try(
            options.ring,
            lambda: new_key(
                keys_in(edit.text),
                options.principal,
                now,
                id=options.id,
                roles=options.role,
                scopes=options.scope,
                not_before=begin,
                not_after=end,
            ),
        )
        edit.text = _try(options.ring, lambda: with_keys(edit.text, [made]))
        copy = _Copy(options.copy, [made])
    copy.write()
    return _said(options, now, [made], "made")


def _rotate(options: argparse.Namespace, now: float) -> int:
    from flowcore.config.values import parse_duration
    from flowcore.signing import new_key, with_end, with_keys

    begin = float(int(now + parse_duration(options.begin)))
    end = begin + parse_duration(options.overlap)
    with _editing(options.ring) as edit:
        ring = list(_read(options.ring))
        active = [one for one in ring if one.active(now)]
        known = list(dict.fromkeys(one.principal for one in active))
        unknown = [one for one in options.principals if one not in known]
        if unknown or not known:
            raise Unusable(f"{options.ring}: no key of {', '.join(unknown) or 'anybody'} is active")
        made: list[Key] = []
        for principal in dict.fromkeys(options.principals or known):
            last = max(
                (one for one in active if one.principal == principal),
                key=lambda one: one.not_before,
            )
            made.append(
                new_key(
                    [*ring, *made],
                    principal,
                    now,
                    roles=last.roles,
                    scopes=last.scopes,
                    not_before=begin,
                )
            )
        names = {one.principal for one in made}
        old = [one.id for one in active if one.principal in names and one.not_after > end]
        edit.text = _try(
            options.ring,
            lambda: with_keys(with_end(edit.text, old, end) if old else edit.text, made),
        )
        copy = _Copy(options.copy, made)
    copy.write()
    return _said(options, now, made, "made")


def _retire(options: argparse.Namespace, now: float) -> int:
    from flowcore.signing import with_end

    end = now if options.at is None else when(options.at, now)
    return _change(options, now, lambda text: with_end(text, options.ids, end), "retired")


def _revoke(options: argparse.Namespace, now: float) -> int:
    from flowcore.signing import with_revoked

    return _change(options, now, lambda text: with_revoked(text, options.ids), "revoked")


def _prune(options: argparse.Namespace, now: float) -> int:
    from flowcore.signing import without

    with _editing(options.ring) as edit:
        over = [one for one in _read(options.ring) if one.revoked or one.not_after <= now]
        if over:
            edit.text = _try(options.ring, lambda: without(edit.text, [one.id for one in over]))
    return _said(options, now, over, "taken out")


def _change(
    options: argparse.Namespace, now: float, change: Callable[[str], str], word: str
) -> int:
    with _editing(options.ring) as edit:
        edit.text = _try(options.ring, lambda: change(edit.text))
    ids = set(options.ids)
    return _said(options, now, [one for one in _read(options.ring) if one.id in ids], word)


def _said(options: argparse.Namespace, now: float, changed: Sequence[Key], word: str) -> int:
    if options.json:
        print(json.dumps({word.replace(" ", "_"): [one.id for one in changed]}, indent=2))
        return EXIT_OK
    for one in changed:
        _, principal, state, begin, end = _row(one, now)
        times = "".join(f", {name} {at}" for name, at in (("from", begin), ("until", end)) if at)
        print(f"{one.id}: {word} ({principal}, {state}{times})")
    if not changed:
        print("nothing to do")
    return EXIT_OK


def _row(key: Key, now: float) -> list[str]:
    from flowcore.signing import shown

    state = (
        "revoked"
        if key.revoked
        else "to come"
        if now < key.not_before
        else "ended"
        if now >= key.not_after
        else "active"
    )
    begin = "" if key.not_before == float("-inf") else shown(key.not_before)
    end = "" if key.not_after == float("inf") else shown(key.not_after)
    return [key.id, key.principal, state, begin, end]


def when(text: str, now: float) -> float:
    """A moment in whole seconds since the epoch: a time with its zone, or one from now. Raises ValueError."""
    from flowcore.config.values import parse_duration

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            return float(int(now + parse_duration(text)))
        except ValueError:
            raise ValueError(
                f"expected a time with its zone, like 2026-12-08T00:00:00Z, or one from now, like 36h,"
                f" not {text!r}"
            ) from None
    if moment.tzinfo is None:
        raise ValueError(f"expected a time with its zone, like {text}Z, not {text!r}")
    return float(int(moment.timestamp()))


# ---- files


class _Edit:
    """The text of a file that is being changed."""

    def __init__(self, text: str) -> None:
        self.text = text


@contextlib.contextmanager
def _editing(path: pathlib.Path, *, missing: bool = False) -> Generator[_Edit]:
    """The text of a file, which is written when the block ends; one at a time changes a folder's rings."""
    from flowcore.secrets import read_private, write_private

    path = path.resolve()  # what a link points to is exchanged, and not the link
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        before = ""
        if path.exists() or not missing:
            before = _try(path, lambda: read_private(path, most=_LARGEST).decode())
        edit = _Edit(before)
        yield edit
        if edit.text != before:
            write_private(path, edit.text.encode(), replace=bool(before))
    finally:
        os.close(folder)


class _Copy:
    """New keys in a second ring, a client's: found to be possible first, and written last."""

    def __init__(self, path: pathlib.Path | None, made: Sequence[Key]) -> None:
        from flowcore.secrets import read_private
        from flowcore.signing import with_keys

        self._path = path = None if path is None else path.resolve()
        if path is None:
            return
        self._new = not path.exists()
        before = ""
        if not self._new:
            before = _try(path, lambda: read_private(path, most=_LARGEST).decode())
        self._text = _try(path, lambda: with_keys(before, made))

    def write(self) -> None:
        """Write it. Raises OSError."""
        from flowcore.secrets import write_private

        if self._path is not None:
            write_private(self._path, self._text.encode(), replace=not self._new)


def _read(path: pathlib.Path) -> KeyRing:
    from flowcore.secrets import read_private
    from flowcore.signing import read_ring

    return _try(path, lambda: read_ring(read_private(path, most=_LARGEST)))


def _try(path: pathlib.Path, work: Callable[[], T]) -> T:
    """What comes of work on a file. Raises Unusable, with the file's name."""
    try:
        return work()
    except UnicodeDecodeError:
        raise Unusable(f"{path}: is not UTF-8 text") from None
    except ValueError as error:
        raise Unusable(f"{path}: {error}") from None
