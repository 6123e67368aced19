"""A key ring's text with keys added, ended, revoked, taken out; all else stays as it stands. Sans-IO.

Comments and the order of a person's file are kept. What was made is read again and compared with what it
should say, so that a file of a form that is not understood is refused, and never damaged.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

import attrs

from flowcore.signing.ring import Key, read_ring

_TABLE = re.compile(r"(?m)^[ \t]*\[\[[ \t]*key[ \t]*\]\]")
_BLANK = re.compile(r"[ \t]*(#.*)?")
BYTES = 32
"""Of a new key's secret."""


def new_key(
    ring: Iterable[Key],
    principal: str,
    now: float,
    *,
    id: str | None = None,  # noqa: A002 - the field's own name
    roles: Iterable[str] = (),
    scopes: Iterable[str] = (),
    not_before: float | None = None,
    not_after: float = float("inf"),
) -> Key:
    """A key with a random secret, good from `now` on unless told otherwise (seconds since the epoch).

    Without an id it gets the principal's name and the day. Raises ValueError.
    """
    taken = {one.id for one in ring}
    return Key(
        id=_free(principal, now, taken) if id is None else id,
        secret=secrets.token_bytes(BYTES),
        principal=principal,
        roles=frozenset(roles),
        scopes=frozenset(scopes),
        not_before=float(int(now)) if not_before is None else not_before,
        not_after=not_after,
    )


def _free(principal: str, now: float, taken: set[str]) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", principal).strip("-._")[:64] or "key"
    plain = f"{name}-{datetime.fromtimestamp(now, UTC):%Y-%m-%d}"
    number = 1
    while (made := plain if number == 1 else f"{plain}.{number}") in taken:
        number += 1
    return made


def keys_in(text: str) -> tuple[Key, ...]:
    """The keys of a ring's text; none if nothing stands there but comments. Raises ValueError."""
    if all(_BLANK.fullmatch(line) for line in text.splitlines()):
        return ()
    return tuple(read_ring(text.encode()))


def with_keys(text: str, keys: Sequence[Key]) -> str:
    """The text of a ring with further keys at its end. Raises ValueError."""
    before = keys_in(text)
    made = text if not text or text.endswith("\n") else f"{text}\n"
    for one in keys:
        made += f"{chr(10) if made else ''}{written(one)}"
    return _checked(made, [*before, *keys])


def with_end(text: str, ids: Iterable[str], not_after: float) -> str:
    """The text with the end of some keys set. Raises ValueError."""
    end = float(int(not_after))
    return _changed(text, ids, lambda key: attrs.evolve(key, not_after=end))


def with_revoked(text: str, ids: Iterable[str]) -> str:
    """The text with some keys revoked. Raises ValueError."""
    return _changed(text, ids, lambda key: attrs.evolve(key, revoked=True))


def without(text: str, ids: Iterable[str]) -> str:
    """The text without some keys. Raises ValueError; also if none would be left."""
    return _changed(text, ids, lambda key: None)


def written(key: Key) -> str:
    """A key as a ring's file has it."""
    lines = [
        "[[key]]",
        f"id = {_quoted(key.id)}",
        f"principal = {_quoted(key.principal)}",
        *(
            f"{name} = [{', '.join(map(_quoted, sorted(values)))}]"
            for name, values in (("roles", key.roles), ("scopes", key.scopes))
            if values
        ),
        f'secret = "{base64.b64encode(key.secret).decode()}"',
        *_times(key),
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _times(key: Key) -> list[str]:
    return [
        *([f"not_before = {shown(key.not_before)}"] if key.not_before > float("-inf") else []),
        *([f"not_after = {shown(key.not_after)}"] if key.not_after < float("inf") else []),
        *(["revoked = true"] if key.revoked else []),
    ]


def shown(moment: float) -> str:
    """A time as TOML and people write it: RFC 3339, in UTC."""
    text = datetime.fromtimestamp(moment, UTC).isoformat()
    return text.replace("+00:00", "Z")


# ---- changes in place


def _changed(text: str, ids: Iterable[str], change: Callable[[Key], Key | None]) -> str:
    """The text with a change made to some keys; None takes a key out."""
    ring = read_ring(text.encode())
    wanted = list(dict.fromkeys(ids))
    known = {one.id: one for one in ring}
    unknown = [one for one in wanted if one not in known]
    if unknown:
        raise ValueError(f"has no key {unknown[0]!r} (known: {', '.join(known)})")
    becomes = {one: change(known[one]) for one in wanted}
    starts = [one.start() for one in _TABLE.finditer(text)]
    parts = [text[: starts[0]]] if starts else [text]
    for start, end in itertools.zip_longest(starts, starts[1:]):
        block = text[start:end]
        id_ = _id_of(block)
        if id_ not in becomes:
            parts.append(block)
        elif (key := becomes[id_]) is not None:
            parts.append(_edited(block, key))
    left = [key for one in ring if (key := becomes.get(one.id, one)) is not None]
    if not left:
        raise ValueError("would have no key left")
    return _checked("".join(parts), left)


def _id_of(block: str) -> str:
    try:
        (key,) = read_ring(block.encode())
    except ValueError:
        raise _not_understood() from None
    return key.id


def _edited(block: str, key: Key) -> str:
    """A table with its times, and whether it is revoked, as they are with the key."""
    lines = [
        line
        for line in block.splitlines(keepends=True)
        if not re.match(r"""[ \t]*["']?(not_before|not_after|revoked)["']?[ \t]*=""", line)
    ]
    said = max(number for number, line in enumerate(lines) if not _BLANK.fullmatch(line.rstrip()))
    if not lines[said].endswith("\n"):
        lines[said] += "\n"
    lines[said + 1 : said + 1] = [f"{one}\n" for one in _times(key)]
    return "".join(lines)


def _checked(text: str, keys: Sequence[Key]) -> str:
    """The text, if it says what it should. Raises ValueError."""
    if list(read_ring(text.encode())) != list(keys):
        raise _not_understood()
    return text


def _not_understood() -> ValueError:
    return ValueError(
        "is written in a form that is not changed here: expected [[key]] tables of lines"
    )
