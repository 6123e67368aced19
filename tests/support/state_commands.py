"""Commands as Hypothesis makes them: few names, so that they meet."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from hypothesis import strategies as st

from flowcore.state import (
    CloseSession,
    Command,
    Committed,
    Entry,
    Feedback,
    GiveFeedback,
    Limits,
    OpenSession,
    PutPattern,
    PutPatterns,
    Reembed,
    ReembedFeedback,
    RemovePatterns,
    Retrain,
    SetLimits,
    Tidy,
    Touch,
    encode_entry,
)

SMALL = Limits(
    patterns=5,
    namespace_patterns=3,
    namespaces=3,
    bytes=4000,
    namespace_bytes=2000,
    weight=3.0,
    feedback=5,
    removed=6,
    sessions=2,
    answers=4,
)
"""Limits that are met at once."""

NAMESPACES = st.sampled_from(("a", "b", "ä", "d"))
KEYS = st.sampled_from(("k", "1", "3", "5", "schlüssel", "\x00"))
TEXTS = st.sampled_from(("", "one", "two", "trois", "\U0001f600", "x" * 300))
IDS = st.integers(-1, 12)
OWNERS = st.sampled_from((("", ""), ("jwt", "ann"), ("token", "ann")))
VECTORS = st.sampled_from((b"", b"\0\0\x80\x3f", b"\0\0\x80\xbf" * 3))
SHARES = st.sampled_from((0.0, 0.25, 1.0, 0.1))


def _vector(
    kind: type[PutPattern] | type[Feedback], fields: Mapping[str, object]
) -> PutPattern | Feedback:
    return kind(**fields, embedder="e" if fields["vector"] else "")  # type: ignore[arg-type]


def _keyless(fields: Mapping[str, object]) -> PutPattern | Feedback:
    """With something in it, at least."""
    empty = not fields["text"] and fields["value"] is None
    return _vector(PutPattern, {**fields, "value": b"0"} if empty else fields)


PATTERNS = st.fixed_dictionaries(
    {
        "namespace": NAMESPACES,
        "text": TEXTS,
        "vector": VECTORS,
        "value": st.sampled_from((b"1", b'{"a":[]}', None)),
        "expert": st.sampled_from(("", "e", "f")),
        "reward": SHARES,
        "weight": st.sampled_from((0.0, 1.0, 2.5, 1e6)),
        "ttl": st.sampled_from((None, None, 0.0, 2.0, 100.0)),
        "owner": OWNERS,
        "time": st.sampled_from((None, None, 3.0)),
    }
).flatmap(
    lambda fields: st.one_of(
        st.just(_keyless(fields)),
        st.tuples(KEYS, st.sampled_from((None, None, 0, 1, 2, 3, 4))).map(
            lambda keyed: _vector(PutPattern, {**fields, "key": keyed[0], "if_version": keyed[1]})
        ),
    )
)
LESSONS = st.builds(
    lambda **fields: _vector(Feedback, fields),
    request=st.sampled_from(("", "r1", "r2")),
    source=st.sampled_from(("explicit", "implicit")),
    text=TEXTS,
    vector=VECTORS,
    expert=st.sampled_from(("e", "f")),
    reward=SHARES,
    owner=OWNERS,
)
COMMANDS: st.SearchStrategy[Command] = st.one_of(
    st.lists(PATTERNS, min_size=1, max_size=4).map(lambda them: PutPatterns(tuple(them))),  # type: ignore[arg-type]
    st.builds(
        RemovePatterns,
        ids=st.lists(IDS, min_size=1, max_size=3).map(tuple),
        namespace=st.one_of(st.just(""), NAMESPACES),
        if_version=st.sampled_from((None, None, 1, 2, 3)),
    ),
    st.builds(
        RemovePatterns, namespace=NAMESPACES, keys=st.lists(KEYS, min_size=1, max_size=3).map(tuple)
    ),
    st.lists(IDS, min_size=1, max_size=4).map(lambda ids: Touch(tuple(ids))),
    st.lists(LESSONS, min_size=1, max_size=3).map(lambda them: GiveFeedback(tuple(them))),  # type: ignore[arg-type]
    st.lists(
        st.tuples(IDS, st.integers(1, 12), st.just(b"\0\0\x80\x3f" * 2)), min_size=1, max_size=3
    ).map(lambda items: Reembed("other", tuple(items))),
    st.lists(
        st.tuples(st.integers(0, 6), st.just(b"\0\0\x80\x3f" * 2)), min_size=1, max_size=3
    ).map(lambda items: ReembedFeedback("other", tuple(items))),
    st.just(Retrain()),
    st.just(OpenSession("somebody")),
    st.builds(CloseSession, st.integers(1, 6)),
    st.just(Tidy()),
    st.sampled_from(
        (
            SetLimits(SMALL),
            SetLimits(msgspec.structs.replace(SMALL, patterns=3, removed=0, feedback=0)),
            SetLimits(
                msgspec.structs.replace(SMALL, namespace_patterns=100, patterns=100, answers=1)
            ),
        )
    ),
)
ENTRIES = st.builds(
    Entry,
    time=st.sampled_from((0.0, 1.0, 1.5, 2.0, 4.0, 50.0)),
    session=st.sampled_from((0, 0, 1, 2, 3)),
    sequence=st.integers(-1, 4),
    command=COMMANDS,
)


def log_of(entries: list[Entry]) -> list[Committed]:
    """These entries as a log that begins with small limits."""
    first = Entry(time=0.0, command=SetLimits(SMALL))
    return [
        Committed(position, encode_entry(entry))
        for position, entry in enumerate((first, *entries), start=1)
    ]
