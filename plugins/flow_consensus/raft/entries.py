"""What the data of a log's entries means: a command, a configuration, or nothing at all."""

from __future__ import annotations

from flow_consensus.raft.membership import Membership

NOTHING = b""
"""The entry with which a leader begins (section 6.4): it changes nothing."""
_COMMAND = b"\x00"
_MEMBERSHIP = b"\x01"


def command_data(command: bytes) -> bytes:
    """A command as an entry's data."""
    return _COMMAND + command


def membership_data(membership: Membership) -> bytes:
    """A configuration as an entry's data."""
    return _MEMBERSHIP + membership.encode()


def is_membership(data: bytes) -> bool:
    """Whether it is a configuration."""
    return data[:1] == _MEMBERSHIP


def membership_of(data: bytes) -> Membership:
    """The configuration in an entry's data. Raises BadMembership."""
    return Membership.decode(data[1:])


def command_of(data: bytes) -> bytes:
    """The command in an entry's data; empty for an entry of the engine's own."""
    return data[1:] if data[:1] == _COMMAND else b""


def described(data: bytes) -> str:
    """What an entry of the engine's own is, for a person; empty for a command."""
    if data[:1] == _COMMAND:
        return ""
    return f"members: {membership_of(data)}" if is_membership(data) else "a leader begins"


def known(data: bytes) -> bool:
    """Whether this version knows what the data means."""
    return data[:1] in (NOTHING, _COMMAND, _MEMBERSHIP)
