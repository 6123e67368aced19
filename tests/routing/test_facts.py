"""What is known of patterns agrees with a dict, in whatever order they come and go."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from flow_vectors.checking import Ids
from flowcore.routing.facts import Columns, Facts, FactTable

IDS = st.integers(0, 40)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("note"), st.lists(st.tuples(IDS, st.sampled_from("abc")), max_size=8)),
        st.tuples(st.just("remove"), st.lists(IDS, max_size=8)),
        st.tuples(st.just("tidy"), st.just([])),
        st.tuples(st.just("restart"), st.just([])),
        st.tuples(st.just("clear"), st.just([])),
    ),
    max_size=20,
)


def ids(*numbers: int) -> Ids:
    return np.array(numbers, dtype=np.int64)


def fact(id_: int, name: str, turn: int = 0) -> Facts:
    return Facts(id=id_, namespace=name, expert=f"{name} does", weight=turn + 0.5, time=float(turn))


def told(table: FactTable) -> dict[int, Facts]:
    """All that it knows, asked for by id; of what it does not know, nothing."""
    every = np.arange(42)
    columns = table.now
    at, known = columns.rows(every)
    names = table.names.texts
    return {
        int(id_): Facts(
            id=int(columns.ids[row]),
            namespace=names[columns.spaces[row]],
            expert=names[columns.experts[row]],
            weight=float(columns.weights[row]),
            time=float(columns.times[row]),
        )
        for id_, row in zip(every[known], at[known], strict=True)
    }


@given(CHANGES)
def test_it_agrees_with_a_dict(changes: list[tuple[str, list[Any]]]) -> None:
    table, expected = FactTable(), dict[int, Facts]()
    for turn, (what, about) in enumerate(changes):
        if what == "note":
            facts = [fact(id_, name, turn) for id_, name in about]
            table.note(facts)
            expected |= {one.id: one for one in facts}
        elif what == "remove":
            table.remove(ids(*about))
            for id_ in about:
                expected.pop(id_, None)
        elif what == "tidy":
            table.tidy()
            assert table.now.ids.tolist() == sorted(expected)
        elif what == "restart":
            other = FactTable()
            other.restore(table.kept())
            table = other
        else:
            table.clear()
            expected.clear()
        assert told(table) == expected


def same(one: Columns, other: list[list[float]]) -> bool:
    return [column.tolist() for column in one.arrays()] == other


def test_a_search_keeps_the_columns_it_began_with() -> None:
    table = FactTable()
    table.note([fact(id_, "a") for id_ in range(10, 2000, 10)])
    before = table.now
    was = [column.tolist() for column in before.arrays()]
    table.note([fact(5, "b"), fact(15, "b"), fact(3000, "b")])
    table.note([fact(id_, "c") for id_ in range(3001, 9000)])
    assert same(before, was)
    assert sorted(told(table)) == [5, 10, 15, 20, 30, 40]


def test_what_was_removed_takes_no_room_for_ever() -> None:
    table = FactTable()
    most = 0
    for start in range(0, 100_000, 500):
        table.note([fact(id_, "a") for id_ in range(start, start + 500)])
        if start >= 2000:
            table.remove(np.arange(start - 2000, start - 1500))
        if table.sparse:
            table.tidy()
        most = max(most, table.memory)
    assert len(table.now.ids) < 10_000
    assert most < 28 * 20_000
