"""`pinning`: a tool that an upstream changes is nobody's until somebody has looked at it.

The first time a tool is seen, its definition (name, description, schemas, annotations) is taken down as a
fingerprint. From then on a tool of another fingerprint is in quarantine: no list has it, and calls of it are
refused, until an operator approves it:

    $ flowctl approve
    $ flowctl approve notes.add
"""

from __future__ import annotations

import hashlib
import json
import logging
import pathlib
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

import attrs
import trio

from flow_guards.measures import REFUSED
from flowcore.agents import Catalog, Tool
from flowcore.config import setting
from flowcore.envelope import Envelope, Principal
from flowcore.errors import AgentUnavailable, AssemblyError, InvalidArguments, UnknownTarget
from flowcore.hookspecs import Context, Factory, Registry, hookimpl
from flowcore.interfaces import Host
from flowcore.requests import Guard
from flowcore.secrets import write_private
from flowcore.telemetry import Reading, gauge

logger = logging.getLogger(__name__)

_FILE = "pins.json"
_NODE = "flow"
_ASIDE = ("_meta", "icons")
"""Members that say nothing of what a tool does, and may be another in each answer."""


@attrs.frozen
class Pin:
    """A tool as it was when it was believed."""

    fingerprint: str
    definition: dict[str, Any] | None = None
    """None where only the fingerprint was kept."""


Pins = dict[str, dict[str, Pin]]
"""agent → tool → what is believed of it."""


@attrs.frozen(kw_only=True)
class PinningConfig:
    """Whose tools are pinned, and what is thought of those never seen before."""

    agents: tuple[str, ...] = setting((), help="agents whose tools are pinned; unset: all")
    unknown: Literal["pin", "quarantine"] = setting(
        "pin",
        help="what happens to a tool that was never seen: believed from then on, or not at all",
    )


class Pinning(Guard):
    """The guard: compares what agents offer with what was seen of them before."""

    def __init__(self, config: PinningConfig, host: Host, pins: Pins) -> None:
        self._config = config
        self._host = host
        self._pins = pins
        self._seen: dict[str, Catalog] = {}
        self._quarantined: dict[tuple[str, str], Pin] = {}
        self.changed = trio.Event()
        self.refused = 0

    def enter(self, envelope: Envelope, now: float) -> None:
        """Raises AgentUnavailable for a tool in quarantine."""
        del now
        if envelope.method == "tools/call" and not self._good(envelope.agent, envelope.name):
            self.refused += 1
            raise AgentUnavailable(
                f"the tool {envelope.agent}.{envelope.name} is not what it was, and waits for approval",
                data={"agent": envelope.agent, "tool": envelope.name},
            )

    def shows(self, principal: Principal, agent: str, kind: str, name: str) -> bool:
        """Whether it is no tool in quarantine."""
        del principal
        return kind != "tools" or self._good(agent, name)

    def _good(self, agent: str, tool: str) -> bool:
        if agent == _NODE or (self._config.agents and agent not in self._config.agents):
            return True
        catalog = self._host.directory.by_name(agent).catalog
        if self._seen.get(agent) is not catalog:
            self._look(agent, catalog)
        return (agent, tool) not in self._quarantined

    def _look(self, agent: str, catalog: Catalog) -> None:
        """Compare all that an agent offers now with its pins."""
        pins = self._pins.setdefault(agent, {})
        for key in [key for key in self._quarantined if key[0] == agent]:
            del self._quarantined[key]
        for tool in catalog.tools:
            made = pin_of(tool)
            known = pins.get(tool.name)
            if known is None and self._config.unknown == "pin":
                pins[tool.name] = made
                self.changed.set()
            elif known is not None and known.fingerprint == made.fingerprint:
                pins[tool.name] = made  # with a definition, which older files have not
            else:
                self._quarantined[agent, tool.name] = made
                what = "is new" if known is None else "is not what it was"
                logger.warning(
                    "tool %s.%s %s: in quarantine until it is approved", agent, tool.name, what
                )
        self._seen[agent] = catalog

    def act(self, action: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """`list` what is in quarantine, or `approve` a `tool` (with its `fingerprint`, to be sure that it
        is still the one that was looked at)."""
        if action == "list":
            return {"quarantined": [self._told(*key) for key in sorted(self._quarantined)]}
        if action != "approve":
            raise UnknownTarget(f"pinning can list and approve, not {action[:100]!r}")
        if not {"tool"} <= arguments.keys() <= {"tool", "fingerprint"}:
            raise InvalidArguments("expected the arguments tool and, if you like, fingerprint")
        agent, _, name = str(arguments["tool"]).partition(".")
        found = self._quarantined.get((agent, name))
        if found is None:
            raise UnknownTarget(f"{agent}.{name} is not in quarantine")
        if not found.fingerprint.startswith(str(arguments.get("fingerprint", ""))):
            raise InvalidArguments(
                f"{agent}.{name} has another fingerprint by now: {found.fingerprint}"
            )
        told = self._told(agent, name)
        self._pins.setdefault(agent, {})[name] = found
        del self._quarantined[agent, name]
        self.changed.set()
        self._host.directory.changed()
        logger.info("tool %s.%s was approved", agent, name)
        return {"approved": told}

    def _told(self, agent: str, name: str) -> dict[str, Any]:
        found, known = self._quarantined[agent, name], self._pins.get(agent, {}).get(name)
        return {
            "tool": f"{agent}.{name}",
            "fingerprint": found.fingerprint,
            "new": known is None,
            "definition": found.definition,
            "before": None if known is None else known.definition,
        }

    def pins(self) -> Pins:
        """What is believed, to be kept."""
        return self._pins

    def measure(self, name: str) -> Iterator[Reading]:
        """Its metrics."""
        yield REFUSED.of(self.refused, name, "quarantine")
        yield PINNED.of(sum(map(len, self._pins.values())), name)
        yield QUARANTINED.of(len(self._quarantined), name)

    def status(self) -> dict[str, Any]:
        """How many tools are pinned, and which are in quarantine."""
        return {
            "pinned": sum(map(len, self._pins.values())),
            "quarantined": [".".join(key) for key in sorted(self._quarantined)],
            "refused": self.refused,
        }


PINNED = gauge("flowcore.pinning.pinned", "{tool}", "Tools whose definition is known.", "guard")
QUARANTINED = gauge(
    "flowcore.pinning.quarantined",
    "{tool}",
    "Tools that changed, and wait to be approved.",
    "guard",
)


def fingerprint(tool: Tool) -> str:
    """The SHA-256 digest of a tool's definition, in hex, whatever the order of its members."""
    return pin_of(tool).fingerprint


def pin_of(tool: Tool) -> Pin:
    """A tool as it is now."""
    definition = json.loads(bytes(tool.definition))
    for name in _ASIDE:
        definition.pop(name, None)
    text = json.dumps(definition, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return Pin(hashlib.sha256(text.encode()).hexdigest(), definition)


def read_pins(path: pathlib.Path) -> Pins:
    """The pins that were kept. Raises AssemblyError for a file that is none: better none than a wrong one."""
    try:
        kept = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise AssemblyError(f"{path}: cannot be read: {error}") from None
    try:
        return {
            agent: {name: _pin(one) for name, one in tools.items()} for agent, tools in kept.items()
        }
    except (AttributeError, TypeError, KeyError):
        raise AssemblyError(f"{path}: holds no pins") from None


def _pin(kept: Any) -> Pin:
    """A pin as it was kept; formerly that was the fingerprint alone."""
    if isinstance(kept, str):
        return Pin(kept)
    digest, definition = kept["fingerprint"], kept["definition"]
    if not isinstance(digest, str) or not isinstance(definition, dict):
        raise TypeError("expected a fingerprint and a definition")
    return Pin(digest, definition)


def write_pins(path: pathlib.Path, text: str) -> None:
    """Keep the pins: the whole file, or the old one."""
    write_private(path, text.encode(), replace=True)


@asynccontextmanager
async def open_pinning(config: PinningConfig, context: Context) -> AsyncGenerator[Pinning]:
    """The guard with the pins it has kept. Raises AssemblyError."""
    path = context.data_dir / _FILE
    guard = Pinning(config, context.host, await trio.to_thread.run_sync(read_pins, path))

    async def keep() -> None:
        while True:
            await guard.changed.wait()
            await write()

    async def write() -> None:
        guard.changed = trio.Event()
        kept = {
            agent: {
                name: pin.fingerprint if pin.definition is None else attrs.asdict(pin)
                for name, pin in tools.items()
            }
            for agent, tools in guard.pins().items()
        }
        text = json.dumps(kept, indent=1, sort_keys=True)
        try:
            await trio.to_thread.run_sync(write_pins, path, text)
        except OSError as error:
            logger.error("the pins cannot be kept: %s", error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep)
        yield guard
        nursery.cancel_scope.cancel()
    if guard.changed.is_set():
        await write()


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("guard", "pinning", PinningConfig, open_pinning, stability="beta"))
