"""Values with units, addresses and secrets: how each is written in TOML, read and shown."""

from __future__ import annotations

import ipaddress
import os
import pathlib
import re
from collections.abc import Callable, Mapping
from decimal import Context, Decimal
from typing import Annotated, Any

import attrs

from flowcore.config.problems import clipped, known_words
from flowcore.secrets import read_private, refuse_sample


class Unit:
    """Marks an annotation whose TOML form is text with a unit."""

    def __init__(self, name: str) -> None:
        self.name = name


DURATION = Unit("duration")
SIZE = Unit("size")

Duration = Annotated[float, DURATION]
"""Seconds as a float; in TOML text such as "250ms", "30s", "1h30m"."""

Size = Annotated[int, SIZE]
"""Bytes as an int; in TOML text such as "16MiB", "64KiB", "1GB", "512B"."""


@attrs.frozen
class Given:
    """An object that a program gives in its configuration, where a file can only name one.

    `target: str | Given` takes both; TOML has no form for the second.
    """

    what: Any

    def __str__(self) -> str:
        named = self.what if hasattr(self.what, "__name__") else type(self.what)
        return ".".join(
            part
            for part in (
                getattr(named, "__module__", None),
                getattr(named, "__qualname__", named.__name__),
            )
            if part
        )


_SECONDS = {
    "us": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
_EXACT = Context(prec=120)
"""Wide enough that no sum or product of what a duration may be written as is rounded."""
_BYTES = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_PART = r"(\d{1,20}(?:\.\d{1,30})?)"
_DURATION = re.compile(rf"(?:{_PART}(us|ms|s|m|h|d))+", re.ASCII)
_DURATION_PART = re.compile(rf"{_PART}(us|ms|s|m|h|d)", re.ASCII)
_SIZE = re.compile(r"(\d{1,20}(?:\.\d{1,9})?) ?([KMGT]i?B|B)", re.ASCII)

DURATION_FORM = 'a duration such as "250ms", "30s", "5m", "1h30m" (units: us, ms, s, m, h, d)'
SIZE_FORM = (
    'a size such as "512B", "64KiB", "16MiB", "1GB" (units: B, KB, MB, GB, TB, KiB, MiB, GiB, TiB)'
)


def parse_duration(text: str) -> float:
    """Seconds. Raises ValueError for anything but numbers with units, each unit once, large to small."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"expected {DURATION_FORM}")
    parts = _DURATION_PART.findall(text)
    factors = [_SECONDS[unit] for _, unit in parts]
    if factors != sorted(set(factors), reverse=True):
        raise ValueError(f"expected {DURATION_FORM}, each unit once, the largest first")
    total = Decimal(0)
    for (number, _), factor in zip(parts, factors, strict=True):
        total = _EXACT.fma(Decimal(number), factor, total)
    return float(total)


def show_duration(seconds: float) -> str:
    """The shortest exact text that `parse_duration` reads back as the same number."""
    if not seconds:
        return "0s"
    exact = Decimal(repr(seconds))
    texts = []
    for unit in ("s", "ms", "us", "m", "h", "d"):
        count = _EXACT.divide(exact, _SECONDS[unit]).normalize(_EXACT)
        text = f"{count:f}{unit}"
        if _DURATION.fullmatch(text) and parse_duration(text) == seconds:
            texts.append(text)
    # below 1e-36 s or so no form holds it: a number that only a program can have set
    return min(texts, key=lambda text: (len(text), "." in text), default=f"{seconds!r}s")


def parse_size(text: str) -> int:
    """Bytes. Raises ValueError for anything but a number with a unit that makes whole bytes."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"expected {SIZE_FORM}")
    number, factor = match[1], _BYTES[match[2]]
    whole, _, fraction = str(number).partition(".")
    scale: int = 10 ** len(fraction)
    count, rest = divmod((int(whole) * scale + int(fraction or 0)) * factor, scale)
    if rest:
        raise ValueError("expected a whole number of bytes")
    return count


def show_size(count: int) -> str:
    """The shortest exact text that `parse_size` reads back as the same number."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if count and count % _BYTES[unit] == 0:
            return f"{count // _BYTES[unit]}{unit}"
    return f"{count}B"


@attrs.frozen
class Address:
    """Where to listen or connect: a host and a TCP port; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def claims(self) -> tuple[str, ...]:
        """What listening here takes for itself (see `Factory.claims`); nothing where the system chooses."""
        hosts = ("127.0.0.1", "::1") if self.host == "localhost" else (self.host,)
        return tuple(f"tcp {Address(host, self.port)}" for host in hosts) if self.port else ()


_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*", re.ASCII)
ADDRESS_FORM = 'an address such as "127.0.0.1:7300" or "[::1]:7300"'


def parse_address(text: str) -> Address:
    """Host and port. Raises ValueError for anything else."""
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"\d{1,5}", port, re.ASCII) or int(port) > 65535:
        raise ValueError(f"expected {ADDRESS_FORM}")
    if host.startswith("[") and host.endswith("]"):
        try:
            return Address(str(ipaddress.IPv6Address(host[1:-1])), int(port))
        except ValueError:
            raise ValueError(f"expected {ADDRESS_FORM}") from None
    if re.fullmatch(r"[\d.]+", host, re.ASCII):
        try:
            return Address(str(ipaddress.IPv4Address(host)), int(port))
        except ValueError:
            raise ValueError(f"expected {ADDRESS_FORM}") from None
    if len(host) > 253 or not _HOST.fullmatch(host):
        raise ValueError(f"expected {ADDRESS_FORM}")
    return Address(host, int(port))


class Secret:
    """A text that is shown nowhere. `reveal()` gives it to the one place that needs it."""

    __slots__ = ("_text", "source")

    def __init__(self, text: str, source: Mapping[str, str] | None = None) -> None:
        self._text = text
        self.source = dict(source) if source else {}
        """Where it came from: `{"env": name}`, `{"file": path}` or `{"sealed": "***"}`."""

    def reveal(self) -> str:
        """The secret itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))


FORM_OF_A_SECRET = '{ env = "VARIABLE" }, { file = "path" } or { sealed = "BASE64" }'  # noqa: S105 - a form
SOURCES = ("env", "file", "sealed")


def read_secret(
    table: Any, folder: pathlib.Path, opened: Callable[[str], str] | None = None
) -> Secret:
    """The secret a table names. Raises ValueError, which never holds the secret, for what is wrong.

    A file must be for its owner alone; one newline at its end is not part of the secret. `opened` opens what
    is sealed in its place.
    """
    if not isinstance(table, dict):
        raise ValueError(f"a secret is not written in the file: expected {FORM_OF_A_SECRET}")
    for name in table:
        if name not in SOURCES:
            raise ValueError(f"unknown source of a secret {clipped(name)}{_known(name)}")
    if len(table) != 1 or not isinstance(next(iter(table.values())), str):
        raise ValueError(f"expected {FORM_OF_A_SECRET}")
    [(how, name)] = table.items()
    if how == "env":
        text = _variable(name)
    elif how == "file":
        text = _read_secret_file(folder / name)
    elif opened is None:
        raise ValueError("expected no sealed value here: nothing opens it")
    else:
        text = opened(name)
    refuse_sample(text)
    return Secret(text, {how: name if how != "sealed" else "***"})


def _known(name: object) -> str:
    return known_words(str(name), SOURCES)


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ValueError(
            f"the environment variable {name!r} is {'empty' if value == '' else 'not set'}"
        )
    return value


def _read_secret_file(path: pathlib.Path) -> str:
    named = f"the secret file {str(path)!r}"
    try:
        text = read_private(path).decode()
    except UnicodeDecodeError:
        raise ValueError(f"{named} is not UTF-8 text") from None
    except ValueError as error:
        raise ValueError(f"{named} {error}") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError(f"{named} is empty")
    return text
