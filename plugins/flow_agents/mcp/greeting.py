"""Who the upstream is: which version it speaks, what it can do.

Sources: 2026-07-28 basic/versioning, transports/stdio and transports/streamable-http (backward
compatibility); 2025-11-25 basic/lifecycle.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

import attrs
import msgspec
import trio
from msgspec import Raw

from flow_agents.mcp.phrasing import initialize_params
from flow_agents.mcp.settings import McpSettings
from flow_agents.mcp.wire import upstream_error
from flowcore.errors import AgentUnavailable, CallError, UpstreamError, UpstreamFailure
from flowcore.mcp import (
    HANDSHAKE,
    HEADER_MISMATCH,
    KNOWN,
    LATEST_HANDSHAKE,
    LATEST_MODERN,
    MISSING_CAPABILITY,
    MODERN,
    UNSUPPORTED_VERSION,
    Era,
    Response,
    era_of,
)

logger = logging.getLogger(__name__)


class NoCommonVersion(UpstreamFailure):
    """The upstream speaks no version that we could speak with it."""


class Features(msgspec.Struct, frozen=True, gc=False):
    """What a server declares of one kind of offer."""

    listChanged: bool = False  # noqa: N815 - the wire's names
    subscribe: bool = False


class Capabilities(msgspec.Struct, frozen=True, gc=False):
    """What a server declares that it can do, as far as it matters here."""

    tools: Features | None = None
    resources: Features | None = None
    prompts: Features | None = None
    completions: Any = None
    logging: Any = None


@attrs.frozen(kw_only=True)
class Greeting:
    """What an upstream said of itself."""

    version: str
    capabilities: Capabilities
    instructions: str | None = None

    @property
    def modern(self) -> bool:
        """Whether it is of the era without a handshake."""
        return era_of(self.version) is Era.MODERN


class Speaker(Protocol):
    """The connection, as far as a greeting needs it."""

    async def ask(self, method: str, params: dict[str, Raw]) -> Response: ...
    async def tell(self, method: str) -> None: ...
    def speak(self, version: str) -> None: ...


async def greet(speaker: Speaker, settings: McpSettings, remembered: Era | None) -> Greeting:
    """Agree upon a version. `remembered` is the era that this upstream was of before, to save the probe.

    Raises CallError if there is no connection, or no version that both sides know.
    """
    wanted = settings.protocol
    if wanted != "auto":
        if era_of(wanted) is Era.MODERN:
            return await _discover(speaker, wanted)
        return await _initialize(speaker, wanted, settings, exactly=True)
    if remembered is Era.HANDSHAKE:
        return await _initialize(speaker, LATEST_HANDSHAKE, settings)
    return await _probe(speaker, settings)


# ---- 2026-07-28


class _Discovery(msgspec.Struct, gc=False):
    supportedVersions: list[str]  # noqa: N815
    capabilities: Capabilities
    instructions: str | None = None


_decode_discovery = msgspec.json.Decoder(_Discovery).decode


async def _discover(speaker: Speaker, version: str) -> Greeting:
    """`server/discover` in one version, and no other era if it fails."""
    speaker.speak(version)
    response = await speaker.ask("server/discover", {})
    if response.error is not None:
        raise upstream_error(response.error)
    greeting = _discovered(response)
    if greeting is None:
        raise UpstreamFailure("the upstream answers server/discover with what is no discovery")
    if greeting.version != version:
        raise UpstreamFailure(f"the upstream does not speak {version}")
    return greeting


def _discovered(response: Response) -> Greeting | None:
    """What a discovery says; None if the result is none."""
    assert response.result is not None
    try:
        discovery = _decode_discovery(response.result)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return Greeting(
        version=_best(discovery.supportedVersions),
        capabilities=discovery.capabilities,
        instructions=discovery.instructions,
    )


def _best(supported: list[str]) -> str:
    """The version that both sides know and prefer. Raises UpstreamFailure if there is none."""
    for version in KNOWN:
        if version in supported:
            return version
    spoken = ", ".join(repr(one[:40]) for one in supported[:10]) or "none"
    raise NoCommonVersion(
        f"the upstream speaks versions ({spoken}) that we do not; we speak {', '.join(KNOWN)}"
    )


# ---- versions with a handshake


class _Initialized(msgspec.Struct, gc=False):
    protocolVersion: str  # noqa: N815
    capabilities: Capabilities
    instructions: str | None = None


_decode_initialized = msgspec.json.Decoder(_Initialized).decode


async def _initialize(
    speaker: Speaker, version: str, settings: McpSettings, *, exactly: bool = False
) -> Greeting:
    """`initialize`, then `notifications/initialized`."""
    speaker.speak(version)
    response = await speaker.ask("initialize", initialize_params(version, settings.questions))
    if response.error is not None:
        raise upstream_error(response.error)
    assert response.result is not None
    try:
        result = _decode_initialized(response.result)
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise UpstreamFailure(f"a malformed answer to initialize: {problem}") from None
    spoken = result.protocolVersion
    if spoken not in HANDSHAKE or (exactly and spoken != version):
        raise NoCommonVersion(
            f"the upstream speaks version {spoken[:40]!r}, not {version!r}"
            + ("" if exactly else f" or one of {', '.join(HANDSHAKE[1:])}")
        )
    speaker.speak(spoken)
    await speaker.tell("notifications/initialized")
    return Greeting(
        version=spoken, capabilities=result.capabilities, instructions=result.instructions
    )


# ---- finding out


class _Refusal(msgspec.Struct, gc=False):
    supported: list[str] = []


@attrs.define(eq=False)
class _Probe:
    """A `server/discover` under way, and what it has shown so far."""

    done: trio.Event = attrs.field(factory=trio.Event)
    greeting: Greeting | None = None
    offered: str | None = None
    """A version that the upstream would rather speak."""
    verdict: CallError | None = None
    """Why there is no use in asking the other way."""

    async def run(self, speaker: Speaker) -> None:
        try:
            response = await speaker.ask("server/discover", {})
        except AgentUnavailable as failure:
            self.verdict = failure
        except CallError as failure:
            logger.debug("no discovery: %s", failure)  # as good as any other refusal
        else:
            try:
                self._read(response)
            except CallError as verdict:
                self.verdict = verdict
        self.done.set()

    def _read(self, response: Response) -> None:
        if response.error is None:
            self.greeting = _discovered(response)
        elif response.error.code == UNSUPPORTED_VERSION:
            try:
                refusal = msgspec.json.decode(response.error.data or b"{}", type=_Refusal)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                return  # like an error of 2026-07-28, but none: it is of the other era
            if refusal.supported:
                self.offered = _best(refusal.supported)
        elif response.error.code in (HEADER_MISMATCH, MISSING_CAPABILITY):
            raise upstream_error(response.error)


async def _probe(speaker: Speaker, settings: McpSettings) -> Greeting:
    """Ask in the newest version, and greet the older way if that is not understood.

    A server of the other era may answer anything, or nothing. One that is slow to start may answer late:
    then it is asked both ways, and the later answer decides only if the earlier way failed.
    """
    speaker.speak(LATEST_MODERN)
    probe = _Probe()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(probe.run, speaker)
        with trio.move_on_after(settings.probe_timeout):
            await probe.done.wait()
        try:
            greeting = await _decide(speaker, settings, probe)
        except CallError as error:
            failure: CallError | None = error
        else:
            failure = None
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return greeting


async def _decide(speaker: Speaker, settings: McpSettings, probe: _Probe) -> Greeting:
    if probe.greeting is not None:
        greeting = probe.greeting
        if greeting.modern:
            speaker.speak(greeting.version)
            return greeting
        return await _initialize(speaker, greeting.version, settings)
    if probe.offered is not None:
        if probe.offered in MODERN:
            return await _discover(speaker, probe.offered)
        return await _initialize(speaker, probe.offered, settings)
    if probe.verdict is not None:
        raise probe.verdict
    try:
        return await _initialize(speaker, LATEST_HANDSHAKE, settings)
    except UpstreamError:
        # it knows no handshake: if it is only slow, its answer to the probe came first
        with trio.move_on_after(settings.probe_timeout):
            await probe.done.wait()
        if probe.greeting is None or not probe.greeting.modern:
            raise
        speaker.speak(probe.greeting.version)
        return probe.greeting
