"""How flowctl reaches a node: URL, TLS and credentials, from options, the environment, and a profile.

A profile is a TOML file with the keys of `Connection`; it is read only where `--profile` or `FLOWCTL_PROFILE`
names it, so that no folder one happens to be in decides where a token goes.
"""

from __future__ import annotations

import argparse
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import attrs

from flowcore.config import NothingKnown, Secret, load, setting, structure

DEFAULT_URL = "http://127.0.0.1:7301"
PROFILE_VARIABLE = "FLOWCTL_PROFILE"
_PATHS = ("ca", "cert", "key", "hmac")


@attrs.frozen(kw_only=True)
class Connection:
    """Where a node is, how it is known, and as whom to come."""

    url: str = setting(DEFAULT_URL, help="the node's api edge")
    ca: pathlib.Path | None = setting(
        None, help="PEM file of the CAs that the node's certificate must come from"
    )
    cert: pathlib.Path | None = setting(None, help="PEM file of the certificate to show")
    key: pathlib.Path | None = setting(None, help="PEM file of its private key (mode 0600)")
    server_name: str | None = setting(
        None, help="the name that the node's certificate must have; unset: the URL's host"
    )
    token: Secret | None = setting(None, help="a bearer token: a static one, or a JWT")
    hmac: pathlib.Path | None = setting(None, help="a key ring to sign requests with (mode 0600)")
    receiver: str | None = setting(
        None, help="whom signed requests are for: the edge's public_url; unset: the URL"
    )

    def __attrs_post_init__(self) -> None:
        if (self.cert is None) is not (self.key is None):
            raise ValueError("expected cert and key together")
        if self.token is not None and self.hmac is not None:
            raise ValueError("expected a token or a key ring (hmac), not both")


_HELP: Mapping[str, tuple[str, str]] = {
    "url": ("URL", f"the node's api edge (default: {DEFAULT_URL})"),
    "ca": ("FILE", "PEM file of the CAs that the node's certificate must come from"),
    "cert": ("FILE", "PEM file of the certificate to show"),
    "key": ("FILE", "PEM file of its private key"),
    "server_name": ("NAME", "the name that the node's certificate must have"),
    "token_file": ("FILE", "file of a bearer token: a static one, or a JWT"),
    "hmac": ("FILE", "key ring to sign requests with"),
    "receiver": ("URI", "whom signed requests are for, if not the URL"),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of a connection, each also `FLOWCTL_...` in the environment."""
    group = parser.add_argument_group("the connection")
    group.add_argument(
        "--profile",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help=f"TOML file with what follows (${PROFILE_VARIABLE})",
    )
    for name, (metavar, text) in _HELP.items():
        group.add_argument(
            f"--{name.replace('_', '-')}",
            # `seal --key` is another key: the word means here what the command says
            dest=f"connection_{name}",
            metavar=metavar,
            default=argparse.SUPPRESS,
            help=f"{text} (${_variable(name)})",
        )


def connection(options: argparse.Namespace) -> Connection:
    """What options, environment and profile say together: the first that says something decides.

    Raises ConfigError for a profile, ValueError for what cannot be.
    """
    profile = getattr(options, "profile", None) or os.environ.get(PROFILE_VARIABLE)
    said = {} if profile is None else _of_profile(pathlib.Path(profile))
    given = {name: getattr(options, f"connection_{name}", None) for name in _HELP}
    for layer in (_of_environment(), {name: one for name, one in given.items() if one}):
        values = _settled(layer)
        if values.keys() & {"token", "hmac"}:  # one way to come takes the place of another
            said = {name: one for name, one in said.items() if name not in ("token", "hmac")}
        said |= values
    return Connection(**said)


def _of_profile(path: pathlib.Path) -> dict[str, Any]:
    made = structure(load(path), Connection, NothingKnown())
    return {
        field.name: getattr(made, field.name)
        for field in attrs.fields(Connection)
        if getattr(made, field.name) is not None
    }


def _of_environment() -> dict[str, str]:
    found = {name: os.environ.get(_variable(name)) for name in (*_HELP, "token")}
    return {name: value for name, value in found.items() if value}


def _settled(layer: Mapping[str, str]) -> dict[str, Any]:
    """Texts as the values they stand for."""
    values: dict[str, Any] = {}
    for name, text in layer.items():
        if name == "token":
            values[name] = Secret(text)
        elif name == "token_file":
            values["token"] = _token(pathlib.Path(text))
        else:
            values[name] = pathlib.Path(text) if name in _PATHS else text
    return values


def _token(path: pathlib.Path) -> Secret:
    from flowcore.secrets import read_private

    try:
        text = read_private(path).decode().strip()
    except UnicodeDecodeError:
        raise ValueError(f"the token file {str(path)!r} is not text") from None
    except ValueError as error:
        raise ValueError(f"the token file {str(path)!r} {error}") from None
    if not text.isascii() or not text.isprintable() or not text or " " in text:
        raise ValueError(f"the token file {str(path)!r} holds no token")
    return Secret(text)


def _variable(name: str) -> str:
    return f"FLOWCTL_{name.upper()}"
