"""What `flowctl doctor` looks at on this machine, without asking the node: each check says what it found, and
what to do."""

from __future__ import annotations

import datetime
import errno
import os
import pathlib
import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import attrs

from flowcore.errors import FlowError

if TYPE_CHECKING:
    from flowcore.assembly import FlowConfig, Plan

Verdict = Literal["ok", "warn", "fail", "skip"]

SOON = 14.0
"""Days before its end at which a certificate is a matter for today."""
LITTLE = 1 << 30
"""Bytes free below which a disk is nearly full;"""
NONE_LEFT = 100 << 20
"""and below which nothing that must not be forgotten is safe there."""
_CONNECT = 3.0


@attrs.frozen(kw_only=True)
class Check:
    """What was looked at, what was found, and what to do."""

    check: str
    about: str
    verdict: Verdict
    found: str
    advice: str = ""


def certificates(config: FlowConfig, folder: pathlib.Path) -> Iterator[Check]:
    """Every certificate that the configuration names: whether it is good now, and for how long."""
    named = sorted(set(_named(config)))
    for name in named:
        yield from _certificate(folder / name, name)
    if not named:
        yield Check(
            check="certificates", about="", verdict="skip", found="the configuration names none"
        )


def _named(value: Any) -> Iterator[str]:
    """The certificate files of settings, wherever they stand."""
    if attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            inner = getattr(value, field.name)
            if field.name in ("cert", "ca", "client_ca") and isinstance(inner, str):
                yield inner
            else:
                yield from _named(inner)
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _named(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _named(inner)


def _certificate(path: pathlib.Path, name: str) -> Iterator[Check]:
    from flowcore.certs import CertsError, describe, read_bundle

    try:
        found = [describe(one) for one in read_bundle(path.read_bytes())]
    except OSError as error:
        yield Check(
            check="certificate",
            about=name,
            verdict="fail",
            found=f"cannot be read: {error.strerror}",
            advice="make it with `flowctl certs`, or let the configuration name the right file",
        )
        return
    except CertsError as error:
        yield Check(
            check="certificate",
            about=name,
            verdict="fail",
            found=str(error),
            advice="put a certificate in PEM form there",
        )
        return
    now = datetime.datetime.now(datetime.UTC)
    for one in found:
        left = one.days_left(now)
        verdict: Verdict = "ok"
        advice = ""
        if one.begins > now:
            verdict = "fail"
            said = f"{one.name}: is good only from {one.begins:%Y-%m-%d %H:%M} UTC on"
            advice = "look at this machine's clock, and at that of the one that made it"
        elif left < 0:
            verdict = "fail"
            said = f"{one.name}: expired {-left:.0f} days ago"
            advice = "rotate it: `flowctl certs`; files are read again without a restart"
        else:
            said = f"{one.name}: good for {left:.0f} days, until {one.ends:%Y-%m-%d}"
            if left < SOON:
                verdict = "warn"
                advice = "rotate it soon: `flowctl certs`; files are read again without a restart"
        yield Check(check="certificate", about=name, verdict=verdict, found=said, advice=advice)


def disk(config: FlowConfig) -> Check:
    """Whether the data folder can be written, and has room."""
    folder = config.node.data_dir
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Check(
            check="disk",
            about=str(folder),
            verdict="fail",
            found=f"{there} is no folder that may be written",
            advice="let the node's user own it, or name another one: [node] data_dir",
        )
    usage = shutil.disk_usage(there)
    said = f"{_size(usage.free)} of {_size(usage.total)} are free"
    if usage.free < NONE_LEFT:
        verdict: Verdict = "fail"
        advice = "make room: without it the node can acknowledge nothing"
    elif usage.free < LITTLE:
        verdict, advice = "warn", "make room soon"
    else:
        verdict, advice = "ok", ""
    return Check(check="disk", about=str(folder), verdict=verdict, found=said, advice=advice)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def ports(config: FlowConfig, plan: Plan, held: frozenset[str]) -> Iterator[Check]:
    """Whether each address that the node listens at is free, or held by the node itself (`held`)."""
    claims = {
        claim.removeprefix("tcp "): one.path
        for one in plan.components
        if one.factory.claims is not None
        for claim in one.factory.claims(one.selection.config)
        if claim.startswith("tcp ")
    }
    if config.swarm is not None:
        claims[config.swarm.bind] = "swarm"
    for address, path in sorted(claims.items()):
        host, _, port = address.rpartition(":")
        trouble = _taken(host.strip("[]"), int(port))
        if trouble is None:
            yield Check(check="port", about=address, verdict="ok", found=f"is free for {path}")
        elif address in held:
            yield Check(check="port", about=address, verdict="ok", found=f"is held by {path}")
        else:
            yield Check(
                check="port",
                about=address,
                verdict="fail",
                found=f"{path} cannot listen there: {trouble}",
                advice="end what listens there (`ss -ltnp`), or name another address",
            )


def _taken(host: str, port: int) -> str | None:
    """Why nobody can listen there; None if one can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((host, port))
            one.listen(1)
    except OSError as error:
        named = "somebody else does" if error.errno == errno.EADDRINUSE else error.strerror
        return named or str(error)
    return None


def peers(config: FlowConfig, folder: pathlib.Path) -> Iterator[Check]:
    """Whether each seed can be reached, and is a node of this swarm by its certificate."""
    swarm = config.swarm
    if swarm is None or not swarm.seeds:
        yield Check(check="peers", about="", verdict="skip", found="there are no seeds")
        return
    own = {swarm.bind, swarm.advertise}
    try:
        context = _context(swarm.tls, folder)
    except (OSError, FlowError, ssl.SSLError) as error:
        yield Check(
            check="peers",
            about="",
            verdict="fail",
            found=f"this node's certificate cannot be used: {error}",
            advice="look at [swarm] tls: cert and key must belong together",
        )
        return
    for seed in swarm.seeds:
        if seed not in own:
            yield _peer(seed, context)


def _context(tls: Any, folder: pathlib.Path) -> ssl.SSLContext:
    from flowcore.http import ClientTlsSettings, client_context

    return client_context(ClientTlsSettings(ca=tls.ca, cert=tls.cert, key=tls.key), folder)


def _peer(seed: str, context: ssl.SSLContext) -> Check:
    host, _, port = seed.rpartition(":")
    context.check_hostname = False  # a node is known by its URI, not by a host's name
    try:
        began = time.monotonic()
        with socket.create_connection((host.strip("[]"), int(port)), _CONNECT) as plain:
            took = time.monotonic() - began
            with context.wrap_socket(plain) as secured:
                shown: dict[str, Any] = dict(secured.getpeercert() or {})
    except ssl.SSLError as error:
        return Check(
            check="peer",
            about=seed,
            verdict="fail",
            found=f"is there, and does not know this node, or is not known: {error.reason}",
            advice="both need certificates of one CA ([swarm] tls), and clocks that are right",
        )
    except OSError as error:
        return Check(
            check="peer",
            about=seed,
            verdict="fail",
            found=f"cannot be reached: {error.strerror or error}",
            advice="start the node there, or look at what is between: addresses, firewall",
        )
    uris = [str(text) for kind, text in shown.get("subjectAltName", ()) if kind == "URI"]
    return Check(
        check="peer",
        about=seed,
        verdict="ok",
        found=f"is {', '.join(uris) or 'somebody without a name'}, connected in {1e3 * took:.1f} ms",
    )
