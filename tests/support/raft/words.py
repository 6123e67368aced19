"""Messages, writes and events as a person reads them in a transcript."""

from __future__ import annotations

import msgspec

from flow_consensus.raft import (
    Event,
    LeaderChanged,
    Membership,
    MembershipChanged,
    Message,
    RoleChanged,
    Write,
    command_of,
    is_membership,
)
from flow_consensus.raft.entries import membership_of
from flow_consensus.raft.messages import (
    Append,
    AppendAnswer,
    Chunk,
    ChunkAnswer,
    Commit,
    Heartbeat,
    HeartbeatAnswer,
    Read,
    ReadAnswer,
    TimeoutNow,
    Vote,
    VoteAnswer,
)
from flow_consensus.raft.restored import HardState
from flowcore.state import LogEntry


def entry_words(entry: LogEntry) -> str:
    """position/term and what it is: `-` for the entry that changes nothing."""
    return f"{entry.position}/{entry.term} {data_words(entry.data)}"


def data_words(data: bytes) -> str:
    if is_membership(data):
        return f"<{membership_of(data)}>"
    return command_of(data).decode() or ("-" if not data else repr(data))


def entries_words(entries: list[LogEntry]) -> str:
    if len(entries) > 8:
        return f"{entry_words(entries[0])} ... {entry_words(entries[-1])}"
    return ", ".join(map(entry_words, entries))


def message_words(message: Message) -> str:
    """A message in one line, its term after its name."""
    name = f"{type(message).__name__} t{message.term}"
    match message:
        case Vote():
            marks = " pre" * message.pre + " force" * message.force
            return f"{name} last {message.last}/{message.last_term}{marks}"
        case VoteAnswer():
            return f"{name} {'yes' if message.granted else 'no'}{' pre' * message.pre}"
        case Append():
            entries = entries_words(message.entries)
            after = f"{message.previous}/{message.previous_term}"
            return f"{name} after {after} [{entries}] commit {message.commit}"
        case AppendAnswer() if message.rejected:
            return f"{name} not at {message.match}, try {message.hint}/{message.hint_term}"
        case AppendAnswer():
            return f"{name} match {message.match}"
        case Heartbeat():
            return f"{name} #{message.round} commit {message.commit}"
        case HeartbeatAnswer():
            return f"{name} #{message.round}"
        case Commit():
            return f"{name} {message.commit}"
        case TimeoutNow():
            return name
        case Read():
            return f"{name}{' leased' * message.leased}"
        case ReadAnswer():
            return f"{name} {'none' if message.position < 0 else message.position}"
        case Chunk():
            last = " last" * message.last
            where = f"{message.position}/{message.position_term} #{message.number}{last}"
            return f"{name} {where} [{message.data.decode()}]"
        case ChunkAnswer():
            return f"{name} {message.position} #{message.number}"


def hard_state_words(data: bytes) -> str:
    """Term, vote and commit position."""
    state = msgspec.msgpack.decode(data, type=HardState)
    return f"term {state.term} vote {state.vote or '-'} commit {state.commit}"


def write_words(write: Write) -> str:
    """What a write does, in its order."""
    parts = []
    if write.reset is not None:
        parts.append(f"reset to {write.reset[0]}/{write.reset[1]}")
    if write.entries:
        parts.append(f"[{entries_words(write.entries)}]")
    if write.hard_state is not None:
        parts.append(hard_state_words(write.hard_state))
    if write.compact is not None:
        parts.append(f"compact to {write.compact}")
    return "; ".join(parts)


def event_words(name: str, event: Event) -> str:
    match event:
        case RoleChanged():
            return f"becomes {event.role} in term {event.term}: {event.why}"
        case LeaderChanged():
            if event.leader == name:
                return "leads"
            return f"follows {event.leader}" if event.leader else "knows no leader"
        case MembershipChanged():
            return f"has {membership_words(event.membership)} from {event.position} on"


def membership_words(membership: Membership) -> str:
    return f"<{membership}>"
