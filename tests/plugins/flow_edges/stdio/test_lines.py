from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_edges.mcp_stdio.lines import Lines, LineTooLong


def reader(*chunks: bytes, limit: int = 10) -> Lines:
    left = list(chunks)

    async def receive() -> bytes:
        return left.pop(0) if left else b""

    return Lines(receive, limit)


async def test_a_line_that_is_too_long_is_skipped_and_the_next_one_read() -> None:
    lines = reader(b"ok\nxxxxxxx", b"xxxxxxxx", b"x\nnext\nlast")
    assert await lines.next() == b"ok"
    with pytest.raises(LineTooLong, match="10 bytes"):
        await lines.next()
    assert await lines.next() == b"next"
    assert await lines.next() == b"last"
    assert await lines.next() is None


@given(st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line)), st.data())
async def test_lines_come_out_as_they_went_in_however_they_are_cut(
    lines: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(line + b"\n" for line in lines)
    chunks = []
    while whole:
        size = data.draw(st.integers(1, len(whole)))
        chunks.append(whole[:size])
        whole = whole[size:]
    source = reader(*chunks, limit=8)
    seen: list[bytes | None] = []
    for line in lines:
        if len(line) > 8:
            with pytest.raises(LineTooLong):
                await source.next()
        else:
            seen.append(await source.next())
    assert seen == [line for line in lines if len(line) <= 8]
    assert await source.next() is None
