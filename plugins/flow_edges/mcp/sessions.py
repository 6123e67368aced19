"""HTTP sessions of clients that shook hands: a bounded number, each ended when it is idle for long."""

from __future__ import annotations

import secrets
from collections import OrderedDict

import attrs
import trio

from flow_edges.mcp.conversation import Conversation
from flow_edges.mcp.outbox import Outbox
from flow_edges.mcp.settings import SessionSettings
from flowcore.errors import Overloaded
from flowcore.requests import Owner


@attrs.define(eq=False)
class Session:
    """A conversation over many HTTP requests."""

    id: str
    conversation: Conversation
    used: float
    """When it was last used, on trio's clock."""
    stream: Outbox | None = None
    """What goes out on its GET stream, while one is open."""

    @property
    def busy(self) -> bool:
        """Whether it has a stream open or a call running."""
        return self.stream is not None or bool(self.conversation.calls)


class Sessions:
    """The sessions of an endpoint, by id. An id alone opens nothing: its principal must ask, too."""

    def __init__(self, settings: SessionSettings) -> None:
        self._settings = settings
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, conversation: Conversation) -> Session:
        """A new session. The one idle for longest gives way if there are too many; Overloaded if none is."""
        if len(self._sessions) >= self._settings.max:
            idle = next((one for one in self._sessions.values() if not one.busy), None)
            if idle is None:
                conversation.close()
                raise Overloaded("all sessions are busy", retry_after=1.0)
            self.close(idle)
        session = Session(secrets.token_urlsafe(24), conversation, trio.current_time())
        self._sessions[session.id.encode()] = session
        return session

    def find(self, session_id: bytes, owner: Owner) -> Session | None:
        """A session of this principal, marked as used; None if there is none."""
        session = self._sessions.get(session_id)
        if session is None or session.conversation.client.principal.owner != owner:
            return None
        session.used = trio.current_time()
        self._sessions.move_to_end(session_id)
        return session

    def close(self, session: Session) -> None:
        """End a session, its stream and its calls."""
        self._sessions.pop(session.id.encode(), None)
        session.conversation.close()
        if session.stream is not None:
            session.stream.close()

    def close_streams(self) -> None:
        """End the GET streams, and no session with them."""
        for session in self._sessions.values():
            if session.stream is not None:
                session.stream.close()

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
