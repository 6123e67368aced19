"""How much an edge shows of what is on offer: all of it, or only the way to find it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from flowcore.agents import Listed, Tool


class Exposure:
    """Everything is listed under its public name."""

    instructions = ""
    """What a model is told of the server where nothing is configured."""

    def entries(self, kind: str, entries: Sequence[Listed]) -> tuple[Listed, ...]:
        """What of the entries is listed, and under which names."""
        del kind
        return tuple(entries)

    def meant(self, kind: str, name: str) -> str:
        """The public name that a client means by a listed one."""
        del kind
        return name


class Search(Exposure):
    """Of the tools only those that find and call others, under their bare names, and memory.

    A model so sees a handful of tools, not hundreds. What it finds it may call through `call_tool`, or by
    name: it is hidden, not forbidden; who may call what is for `permissions` to say.
    """

    instructions = (
        "There are more tools than are listed. Say what is to be done to find_tools; call what it finds by"
        " call_tool, with arguments as its inputSchema asks."
    )

    def __init__(self) -> None:
        self._bare: Mapping[str, str] = {
            name: f"flow.{name}" for name in ("find_tools", "call_tool")
        }

    def entries(self, kind: str, entries: Sequence[Listed]) -> tuple[Listed, ...]:
        """`find_tools`, `call_tool`, `memory.*`; of prompts and resources all."""
        if kind != "tools":
            return tuple(entries)
        return tuple(shown for one in entries for shown in self._shown(one))

    def _shown(self, entry: Listed) -> tuple[Listed, ...]:
        if entry.agent == "memory":
            return (entry,)
        own = entry.offer.name if isinstance(entry.offer, Tool) else ""
        if entry.agent == "flow" and own in self._bare:
            return (attrs.evolve(entry, name=own),)
        return ()

    def meant(self, kind: str, name: str) -> str:
        return self._bare.get(name, name) if kind == "tools" else name


EVERYTHING = Exposure()
EXPOSURES: Mapping[str, Exposure] = {"all": EVERYTHING, "search": Search()}
