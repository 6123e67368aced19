"""`flowctl certs`: a private CA and its certificates, for people who have none."""

from __future__ import annotations

import argparse
import datetime
import json
import pathlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowcore.cli.tables import table

if TYPE_CHECKING:
    from flowcore.certs import CertFolder, Described, Found

EXIT_OK, EXIT_FAILED = 0, 1
OPERATOR = "operator"
SERVER = "server"


def add_command(commands: Any, common: argparse.ArgumentParser) -> None:
    """Put the command on flowctl's command line."""
    certs = commands.add_parser(
        "certs",
        parents=[common],
        help="make a private CA, issue certificates, exchange them",
        description="A private CA in a folder, for people who have none: server, client and node"
        " certificates, and how all of them are exchanged without a gap.",
    )
    actions = certs.add_subparsers(dest="action", required=True, metavar="ACTION")
    folder = argparse.ArgumentParser(add_help=False)
    folder.add_argument(
        "--dir",
        type=pathlib.Path,
        default=pathlib.Path("certs"),
        metavar="FOLDER",
        help="where they are (default: certs)",
    )
    days = argparse.ArgumentParser(add_help=False)
    days.add_argument("--days", type=float, help="how long certificates are good (default: 90)")
    hosts = argparse.ArgumentParser(add_help=False)
    hosts.add_argument("--dns", action="append", default=[], metavar="NAME", help="a host's name")
    hosts.add_argument("--ip", action="append", default=[], metavar="ADDRESS", help="its address")
    kind = argparse.ArgumentParser(add_help=False)
    kind.add_argument(
        "--algorithm",
        choices=["p256", "ed25519"],
        default="p256",
        help="of the keys; browsers do not know ed25519 (default: p256)",
    )
    kind.add_argument("--force", action="store_true", help="write over what is there")

    init = actions.add_parser(
        "init",
        parents=[common, folder, days, hosts, kind],
        help="make a CA, a server's and an operator's certificate, and what configs/secure.toml needs"
        " besides",
    )
    init.add_argument("--ca-days", type=float, help="how long the CA is good (default: 3650)")
    init.add_argument(
        "--domain",
        action="append",
        default=[],
        help="let the CA be believed for this domain and loopback only (name constraints)",
    )
    issue = actions.add_parser(
        "issue", parents=[common, folder, days, hosts, kind], help="issue one certificate more"
    )
    issue.add_argument("kind", choices=["server", "client", "node"])
    issue.add_argument(
        "name", help="of its files, and of its identity: spiffe://flow/client/NAME or node/NAME"
    )
    cluster = actions.add_parser(
        "cluster",
        parents=[common, folder, days, hosts],
        help="make all that the nodes of a cluster need: a CA if there is none, a certificate for each",
    )
    cluster.add_argument(
        "names", nargs="+", metavar="NAME", help="of the nodes, as in their [node] name"
    )
    cluster.add_argument("--force", action="store_true", help="make anew what is there")
    rotate = actions.add_parser(
        "rotate",
        parents=[common, folder, days],
        help="issue certificates anew; or exchange the CA: rotate ca, rotate --all, rotate ca --retire",
    )
    rotate.add_argument("names", nargs="*", metavar="NAME", help="certificates, or ca")
    rotate.add_argument("--all", action="store_true", help="every certificate but the CA")
    rotate.add_argument(
        "--due", action="store_true", help="those with less than a third of their time left"
    )
    rotate.add_argument("--retire", action="store_true", help="believe the newest CA alone")
    rotate.add_argument("--force", action="store_true", help="also if something is of the older CA")
    actions.add_parser(
        "show",
        parents=[common, folder],
        help="names, fingerprints, days left; exit code 1 if something cannot be used",
    )


def certs(options: argparse.Namespace) -> int:
    """Do what was asked. Raises ValueError for words that make no sense."""
    from flowcore.certs import CertFolder, CertsError

    steps: dict[str, Callable[[argparse.Namespace, CertFolder, datetime.datetime], int]] = {
        "init": _init,
        "issue": _issue,
        "cluster": _cluster,
        "rotate": _rotate,
        "show": _show,
    }
    try:
        folder = CertFolder(options.dir)
        return steps[options.action](options, folder, datetime.datetime.now(datetime.UTC))
    except CertsError as error:
        if options.json:
            print(json.dumps({"error": {"message": str(error)}}, indent=2))
        print(f"flowctl: {error}", file=sys.stderr)
        return EXIT_FAILED


def _init(options: argparse.Namespace, folder: CertFolder, now: datetime.datetime) -> int:
    from flowcore.certs import CA_DAYS, LEAF_DAYS, LOCAL, CertsError, Kind, Wanted
    from flowcore.cli.credentials import FILES, write_credentials

    there = [str(folder.path / one) for one in FILES if (folder.path / one).exists()]
    if there and not options.force:
        raise CertsError(f"{', '.join(there)} would be written over; to begin anew: --force")
    days = LEAF_DAYS if options.days is None else options.days
    hosts = tuple(dict.fromkeys((*options.dns, *options.ip, *LOCAL)))
    folder.init(
        [
            Wanted(
                kind=Kind.SERVER, name=SERVER, hosts=hosts, days=days, algorithm=options.algorithm
            ),
            Wanted(kind=Kind.CLIENT, name=OPERATOR, days=days, algorithm=options.algorithm),
        ],
        now,
        days=CA_DAYS if options.ca_days is None else options.ca_days,
        algorithm=options.algorithm,
        domains=tuple(options.domain),
        force=options.force,
    )
    try:
        write_credentials(folder.path, OPERATOR)
    except OSError as error:
        raise CertsError(f"{error.filename}: {error.strerror}") from None
    if options.json:
        return _show(options, folder, now)
    print(_listed(folder.found(now), now))
    print(f"\nalso made: {', '.join(str(folder.path / one) for one in FILES)}")
    print(
        f"now: flowserve --config configs/secure.toml (it looks in {folder.path.name}/), and then"
    )
    print(f"     flowctl --profile {folder.path / 'flowctl.toml'} status")
    _warn(folder, [])
    return EXIT_OK


def _issue(options: argparse.Namespace, folder: CertFolder, now: datetime.datetime) -> int:
    from flowcore.certs import LEAF_DAYS, LOCAL, Kind, Wanted

    kind = Kind(options.kind)
    hosts = tuple(dict.fromkeys((*options.dns, *options.ip)))
    wanted = Wanted(
        kind=kind,
        name=options.name,
        hosts=hosts or (LOCAL if kind is Kind.SERVER else ()),
        days=LEAF_DAYS if options.days is None else options.days,
        algorithm=options.algorithm,
    )
    folder.issue(wanted, now, force=options.force)
    return _tell(options, folder, [wanted.name], now)


def _cluster(options: argparse.Namespace, folder: CertFolder, now: datetime.datetime) -> int:
    from flowcore.certs import LEAF_DAYS, Kind, Wanted

    names = list(dict.fromkeys(options.names))
    wanted = [
        Wanted(
            kind=Kind.NODE,
            name=name,
            hosts=tuple(dict.fromkeys((*options.dns, *options.ip))),
            days=LEAF_DAYS if options.days is None else options.days,
            algorithm="ed25519",  # what nodes sign with
        )
        for name in names
    ]
    made = folder.issue_nodes(wanted, now, force=options.force)
    _tell(options, folder, names, now)
    if not options.json:
        kept = [name for name in names if name not in made]
        if kept:
            print(f"\nwere there already: {', '.join(kept)}")
        print("\neach node gets these, and nobody else its key; ca.key stays here:")
        for name in names:
            print(f"     {name}: {folder.path}/ca.pem, {name}.pem, {name}.key")
        print("and in its configuration, under [swarm], relative to the TOML file:")
        print(f'     tls = {{ cert = "{names[0]}.pem", key = "{names[0]}.key", ca = "ca.pem" }}')
    return EXIT_OK


def _rotate(options: argparse.Namespace, folder: CertFolder, now: datetime.datetime) -> int:
    from flowcore.certs import AUTHORITY

    ways = [bool(options.names), options.all, options.due]
    if ways.count(True) != 1:
        raise ValueError("rotate needs names, or --all, or --due")
    if options.retire and options.names != [AUTHORITY]:
        raise ValueError("--retire is for the CA: flowctl certs rotate ca --retire")
    if options.retire:
        gone = folder.retire(force=options.force)
        print(f"{gone.name} is believed no more; give {folder.path / 'ca.pem'} to all who had it")
        return EXIT_OK
    names = options.names
    if not names:
        names = [one.name for one in folder.leaves() if options.all or one.described.due(now)]
    for name in names:
        if name == AUTHORITY:
            folder.rotate_authority(now, options.days)
        else:
            folder.rotate(name, now, options.days)
    if AUTHORITY in names and not options.json:
        print(
            f"{folder.path / 'ca.pem'} holds the new CA and the one before it. Next: give it to all who had"
            " the old one; flowctl certs rotate --all; flowctl certs rotate ca --retire",
            file=sys.stderr,
        )
    return _tell(options, folder, names, now)


def _show(options: argparse.Namespace, folder: CertFolder, now: datetime.datetime) -> int:
    found = folder.found(now)
    if options.json:
        print(json.dumps({"certificates": [_plain(one, now) for one in found]}, indent=2))
    else:
        print(_listed(found, now))
    _warn(folder, found)
    return EXIT_FAILED if any(one.unusable for one in found) else EXIT_OK


def _tell(
    options: argparse.Namespace, folder: CertFolder, names: list[str], now: datetime.datetime
) -> int:
    """Show those of these names."""
    found = [one for one in folder.found(now) if one.name in names]
    if options.json:
        print(json.dumps({"certificates": [_plain(one, now) for one in found]}, indent=2))
    elif found:
        print(_listed(found, now))
    else:
        print("nothing is due")
    return EXIT_OK


def _warn(folder: CertFolder, found: list[Found]) -> None:
    mode = folder.path.stat().st_mode & 0o777
    if mode & 0o077:
        print(
            f"warning: {folder.path} can be entered by others (mode {mode:04o}): chmod 700 it",
            file=sys.stderr,
        )
    for one in found:
        if one.unusable or one.warning:
            print(f"warning: {one.name}: {one.unusable or one.warning}", file=sys.stderr)


def _listed(found: list[Found], now: datetime.datetime) -> str:
    rows = [
        [
            one.name,
            one.described.kind.value,
            one.described.fingerprint[:16],
            _days(one.described, now),
            one.signed,
            ", ".join(_names(one.described)),
        ]
        for one in found
    ]
    return table(["name", "for", "fingerprint", "days left", "signed by", "names"], rows)


def _days(described: Described, now: datetime.datetime) -> str:
    left = described.days_left(now)
    return f"{left:.0f}" if left >= 3 or left <= 0 else f"{left:.1f}"


def _names(described: Described) -> list[str]:
    from flowcore.certs import Kind

    if described.kind is Kind.AUTHORITY:
        return [described.name]
    return [*([] if described.uri is None else [described.uri]), *described.hosts]


def _plain(found: Found, now: datetime.datetime) -> dict[str, Any]:
    one = found.described
    return {
        "name": found.name,
        "kind": one.kind.value,
        "names": _names(one),
        "algorithm": one.algorithm,
        "fingerprint": one.fingerprint,
        "begins": one.begins.isoformat(),
        "ends": one.ends.isoformat(),
        "days_left": round(one.days_left(now), 2),
        "signed_by": found.signed,
        "unusable": found.unusable,
        "warning": found.warning,
    }
