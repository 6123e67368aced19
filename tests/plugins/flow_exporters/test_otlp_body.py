from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flow_exporters.otlp.body import Body

pieces = st.lists(
    st.binary(max_size=40) | st.integers(0, 400_000).map(lambda size: b"x" * size), max_size=6
)


@given(st.lists(st.tuples(st.binary(max_size=8), pieces), min_size=1, max_size=4))
def test_what_is_put_into_it_comes_behind_its_head(
    requests: list[tuple[bytes, list[bytes]]],
) -> None:
    body = Body(8)
    for head, items in requests:
        body.clear()
        for item in items:
            body.add(item)
        assert len(body) == sum(map(len, items))
        assert bytes(body.whole(head)) == b"".join((head, *items))


def test_a_large_request_leaves_no_large_memory() -> None:
    body = Body(8)
    before = len(body.buffer)
    body.add(bytes(10 * before))
    assert len(body.buffer) > 10 * before
    body.clear()
    assert len(body.buffer) == before


def test_what_is_read_of_it_by_another_is_no_hindrance_to_more() -> None:
    body = Body(0)
    body.add(b"abc")
    whole = body.whole(b"")
    body.clear()
    body.add(bytes(10 * len(body.buffer)))
    assert len(whole) == 3
