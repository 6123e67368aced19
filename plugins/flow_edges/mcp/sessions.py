"""HTTP sessions of clients that shook hands: a bounded number, each ended when it is idle for long."""

from __future__ import annotations

import secrets
from collections import Counter, OrderedDict
from typing import Final

import attrs
import trio

from flow_edges.mcp.channel import Channel, Memory
from flow_edges.mcp.conversation import Conversation
from flow_edges.mcp.settings import SessionSettings
from flowcore.errors import Overloaded
from flowcore.requests import Owner, Principal

_MOST_ENDED: Final = 32
"""Streams of a session that have ended and can still be resumed."""
OWN_STREAM: Final = "0"
"""The name of a session's own stream, which GET opens; those of calls are numbered from 1."""


@attrs.define(eq=False)
class Session:
    """A conversation over many HTTP requests."""

    id: str
    conversation: Conversation
    used: float
    """When it was last used, on trio's clock."""
    channels: dict[str, Channel] = attrs.field(factory=dict)
    """Its streams by name: those that go on, and the last ones that ended."""
    _named: int = 0

    @property
    def owner(self) -> Owner:
        """Whose it is."""
        return self.conversation.client.principal.owner

    @property
    def stream(self) -> Channel | None:
        """Its own stream, once GET has opened it."""
        return self.channels.get(OWN_STREAM)

    @property
    def busy(self) -> bool:
        """Whether a connection carries its own stream, or a call is running."""
        return bool(self.conversation.calls) or (self.stream is not None and self.stream.attached)

    def name(self) -> str:
        """A name for the stream of a call."""
        self._named += 1
        return str(self._named)


class Sessions:
    """The sessions of an endpoint, by id. An id alone opens nothing: its principal must ask, too."""

    def __init__(self, settings: SessionSettings, *, backlog: int) -> None:
        """`backlog` is how many messages may wait for one slow reader."""
        self._settings = settings
        self._backlog = backlog
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()
        self._memory = Memory(settings.replay.size)

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, conversation: Conversation) -> Session:
        """A new session. If there are too many, one that is idle gives way: of the principals that have idle
        ones, the one with the most sessions loses the one idle for longest. Raises Overloaded if none is."""
        if len(self._sessions) >= self._settings.max:
            idle = self._dispensable()
            if idle is None:
                conversation.close()
                raise Overloaded("all sessions are busy", retry_after=1.0)
            self.close(idle)
        session = Session(secrets.token_urlsafe(24), conversation, trio.current_time())
        self._sessions[session.id.encode()] = session
        return session

    def _dispensable(self) -> Session | None:
        """Which session gives way: whoever opens many takes none from others who have fewer."""
        many = Counter(one.owner for one in self._sessions.values())
        first: dict[Owner, Session] = {}
        for session in self._sessions.values():
            if not session.busy:
                first.setdefault(session.owner, session)
        return max(first.values(), key=lambda one: many[one.owner], default=None)

    def find(self, session_id: bytes, principal: Principal) -> Session | None:
        """A session of this principal, marked as used; None if there is none."""
        session = self._sessions.get(session_id)
        if session is None or session.owner != principal.owner:
            return None
        self.touch(session)
        return session

    def touch(self, session: Session) -> None:
        """Mark a session as used now."""
        session.used = trio.current_time()
        if session.id.encode() in self._sessions:
            self._sessions.move_to_end(session.id.encode())

    def open_channel(self, session: Session, name: str) -> Channel:
        """A new stream of a session."""
        ended = [one for one in session.channels.values() if one.ended and not one.attached]
        for old in ended[: max(0, len(ended) - _MOST_ENDED + 1)]:
            del session.channels[old.name]
            old.close()
        channel = session.channels[name] = Channel(
            name, self._memory, keep=self._settings.replay.messages, backlog=self._backlog
        )
        return channel

    def close(self, session: Session) -> None:
        """End a session, its streams and its calls."""
        self._sessions.pop(session.id.encode(), None)
        session.conversation.close()
        for channel in session.channels.values():
            channel.close()

    def close_streams(self) -> None:
        """End the sessions' own streams, and no session with them."""
        for session in self._sessions.values():
            if session.stream is not None:
                session.stream.finish()

    def close_all(self) -> None:
        """End them all."""
        for session in tuple(self._sessions.values()):
            self.close(session)

    async def expire(self) -> None:
        """End sessions as they become idle for too long, until cancelled."""
        timeout = self._settings.idle_timeout
        while True:
            now = trio.current_time()
            oldest = now
            for session in tuple(self._sessions.values()):
                if session.busy:
                    continue
                if session.used + timeout <= now:
                    self.close(session)
                else:
                    oldest = min(oldest, session.used)
                    break  # the others were used later
            await trio.sleep(max(1.0, oldest + timeout - now))
