"""What must hold at the end of a run of what clients were told: nothing twice, nothing lost, one order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flowcore.testing import History, Undecided, check_linearizable
from support.simulation.client import LISTS, Client
from support.simulation.machine import Values


class Broken(AssertionError):
    """Something that must hold does not."""


def check_exactly_once(final: Any, clients: Iterable[Client]) -> None:
    """What was appended and acknowledged is there once; what is unknown at most once; nothing else.

    `final` is a state machine with `read`. Raises Broken.
    """
    clients = list(clients)
    for key in LISTS:
        found = list(final.read(key) or ())
        if len(found) != len(set(found)):
            raise Broken(f"sessions: {key!r} has something twice: {found}")
        tried = {
            value: said
            for client in clients
            for (where, value), said in client.appended.items()
            if where == key
        }
        wanted = {value for value, said in tried.items() if said == "ok"}
        if not wanted <= set(found):
            raise Broken(
                f"durability: {sorted(wanted - set(found))} were acknowledged and are lost"
            )
        if not set(found) <= set(tried):
            raise Broken(f"integrity: nobody appended {sorted(set(found) - set(tried))}")
        for client in clients:
            for where, seen in client.seen:
                if where == key and seen != found[: len(seen)]:
                    raise Broken(f"{client.host.name} saw {seen} in {key!r}, which is {found}")


def check_one_order(history: History, limit: int = 400_000) -> None:
    """What clients saw is linearizable, as far as a search of so many steps can tell. Raises Broken."""
    try:
        verdict = check_linearizable(history.operations(), Values(), limit=limit)
    except Undecided:
        return
    if not verdict:
        raise Broken(str(verdict))
