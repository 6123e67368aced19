"""The checker: known histories, small ones against every order there is, and files."""

from __future__ import annotations

import itertools
import pathlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowcore.testing import (
    History,
    Operation,
    Register,
    Undecided,
    check_linearizable,
    read_history,
    write_history,
)


def drawn(*rows: str) -> list[Operation]:
    """Operations drawn as time lines: `|--w1--|` from bar to bar; `|--w1...` of unknown end.

    `w1` writes 1, `r1` reads 1, `r-` reads nothing, `c12` compares 1 and sets 2, `x12` fails to.
    """
    found = []
    for client, row in enumerate(rows):
        at = 0
        while (began := row.find("|", at)) != -1:
            ended = row.find("|", began + 1)
            unknown = "." in row[began : ended if ended != -1 else None]
            text = row[began + 1 : None if unknown or ended == -1 else ended].strip("-. ")
            kind, rest = text[0], text[1:]
            value: Any = None
            result: Any = None
            if kind == "w":
                name, value = "write", int(rest)
            elif kind == "r":
                name, result = "read", int(rest) if rest else None
            else:
                name, value = "cas", [int(rest[0]), int(rest[1])]
                result = kind == "c"
            found.append(
                Operation(
                    name=name,
                    value=value,
                    result=None if unknown else result,
                    began=began * 10 + client,
                    ended=None if unknown else ended * 10 + client,
                    client=f"c{client}",
                )
            )
            if unknown:
                break
            at = ended + 1
    return found


GOOD = {
    "one after the other": ["|w1| |r1| |w2| |r2|"],
    "a read sees what is being written": ["|--w1--|", "  |r1|"],
    "or does not yet": ["|--w1--|", "  |r-|"],
    "two writers at once, and either wins": ["|--w1--|     |r1|", "|--w2--|"],
    "what is unknown may have happened": ["|w1...", "     |r1| |r1|"],
    "or never happens": ["|w1...", "     |r-|  |w2| |r2|"],
    "or much later": ["|w1...", "     |r-|  |w2| |r2| |r1|"],
    "of two that compare only one succeeds": ["|w1| |--c12--|    |r2|", "     |--x13--|"],
    "an unknown compare explains a value": ["|w1| |c12...", "       |r1| |r2|"],
    "readers on their own see it in one order": [
        "|w1|   |----w2----|",
        "      |r1| |r2|",
        "         |r2|",
    ],
}
BAD = {
    "a stale read": ["|w1| |w2|      ", "          |r1|"],
    "a value that nobody wrote": ["|w1| |r2|"],
    "a read that goes back": ["|w1|   |------w2------|", "       |r2| |r1|"],
    "two readers that disagree about the order": [
        "|---w1---|",
        "|---w2---|",
        "          |r1| |r2|",
    ],
    "both succeed at what only one can": ["|w1| |--c12--|", "     |--c13--|"],
    "a lost write": ["|w1|     |r-|"],
    "an unknown write happens twice": ["|w1...", "    |r1| |w2| |r2| |r1| |w2| |r1|"],
    "a compare fails though it was right": ["|w1| |x12| |r1|"],
    "what is unknown happens before it began": ["|r1|   |w1...", " "],
}


@pytest.mark.parametrize("name", GOOD)
def test_it_explains(name: str) -> None:
    verdict = check_linearizable(drawn(*GOOD[name]))
    assert verdict
    assert str(verdict).startswith("linearizable")


@pytest.mark.parametrize("name", BAD)
def test_it_does_not_explain(name: str) -> None:
    verdict = check_linearizable(drawn(*BAD[name]))
    assert not verdict
    assert "none of these can come next" in str(verdict)


def by_trying_all(operations: list[Operation]) -> bool:
    """Every order of every choice of the unknown ones."""
    model = Register()
    certain = [one for one in operations if one.ended is not None]
    unknown = [one for one in operations if one.ended is None]
    for count in range(len(unknown) + 1):
        for chosen in itertools.combinations(unknown, count):
            for order in itertools.permutations([*certain, *chosen]):
                place = {id(one): number for number, one in enumerate(order)}
                if any(
                    one.ended is not None
                    and one.ended < other.began
                    and place[id(one)] > place[id(other)]
                    for one in order
                    for other in order
                ):
                    continue
                state: Any = model.initial
                for one in order:
                    result, state = model.apply(state, one)
                    if one.ended is not None and result != one.result:
                        break
                else:
                    return True
    return False


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    count = draw(st.integers(1, 6))
    places = draw(st.permutations(range(2 * count)))
    found = []
    for number in range(count):
        began, ended = sorted(places[2 * number : 2 * number + 2])
        name = draw(st.sampled_from(["read", "write", "cas"]))
        value: Any = None
        result: Any = None
        if name == "write":
            value = draw(st.integers(1, 2))
        elif name == "cas":
            value, result = [draw(st.integers(1, 2)), draw(st.integers(1, 2))], draw(st.booleans())
        else:
            result = draw(st.sampled_from([None, 1, 2]))
        unknown = draw(st.integers(0, 3)) == 0
        found.append(
            Operation(
                name=name,
                value=value,
                result=None if unknown else result,
                began=began,
                ended=None if unknown else ended,
            )
        )
    return found


@settings(max_examples=400)
@given(histories())
def test_it_says_what_trying_all_orders_says(operations: list[Operation]) -> None:
    assert bool(check_linearizable(operations)) == by_trying_all(operations)


def test_each_key_is_by_itself_and_the_bad_one_is_named() -> None:
    good, bad = drawn("|w1| |r1|"), drawn("|w1| |r2|")
    operations = [
        Operation(**{**_fields(one), "key": key})
        for key, some in (("a", good), ("b", bad))
        for one in some
    ]
    verdict = check_linearizable(operations)
    assert (bool(verdict), verdict.key) == (False, "b")
    assert [one.name for one in verdict.explained] == ["write"]
    assert [one.result for one in verdict.stuck] == [2]


def _fields(one: Operation) -> dict[str, Any]:
    return {name: getattr(one, name) for name in ("name", "value", "result", "began", "ended")}


def test_a_long_history_is_decided_in_few_steps() -> None:
    """Ten clients at a time, ten thousand operations: with a memory of what was tried this is quick."""
    history = History()
    value: Any = None
    under_way: list[tuple[int, str, Any]] = []
    for number in range(5000):
        if len(under_way) == 10:
            call, client, result = under_way.pop(number * 7 % 10)
            history.end(float(number), client, call, "ok", result)
        client = f"c{number}"
        if number % 3:
            call = history.invoke(float(number), client, "read", "x")
            under_way.append((call, client, value))
        else:
            call = history.invoke(float(number), client, "write", "x", number)
            value = number
            under_way.append((call, client, None))
    for call, client, result in under_way:
        history.end(6000.0, client, call, "ok", result)
    verdict = check_linearizable(history.operations())
    assert verdict
    assert verdict.steps < 100_000


def test_a_search_that_takes_too_long_is_given_up() -> None:
    rows = [f"|--w{number % 10}--|" for number in range(12)]
    with pytest.raises(Undecided, match="in 50 steps"):
        check_linearizable(drawn(*rows, "            |r0|  |r1|"), limit=50)


def test_a_file_has_all_of_it(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "history.jsonl"
    with path.open("wb") as file:
        history = History(file)
        write = history.invoke(0.5, "c1", "write", "x", {"n": [1, 2]})
        read = history.invoke(0.6, "c2", "read", "x")
        cas = history.invoke(0.7, "c3", "cas", "x", [1, 2])
        history.end(0.8, "c1", write, "ok")
        history.end(0.9, "c2", read, "ok", {"n": [1, 2]})
        history.end(0.9, "c3", cas, "fail")
        history.invoke(1.0, "c3", "write", "x", 5)
        history.end(1.1, "c4", history.invoke(1.0, "c4", "write", "x", 6), "unknown")
    assert read_history(path) == history.operations()
    assert path.read_text().splitlines()[0] == (
        '{"at":0.5,"client":"c1","call":1,"event":"invoke","operation":"write","key":"x",'
        '"value":{"n":[1,2]}}'
    )
    other = tmp_path / "other.jsonl"
    write_history(other, history.lines)
    assert other.read_bytes() == path.read_bytes()
    found = read_history(path)
    assert [one.ended for one in found] == [3, 4, None, None]
    assert [one.name for one in found] == ["write", "read", "write", "write"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", ":1: no line of a history"),
        ('{"at": 1, "client": "c", "call": 1, "event": "done"}', ":1: no line of a history"),
        (
            '{"at": 1, "client": "c", "call": 1, "event": "ok"}',
            ":1: call 1 ends without a beginning",
        ),
        (
            '{"at": 1, "client": "c", "call": 1, "event": "invoke", "who": 1}',
            "no line of a history",
        ),
        (
            '{"at": 1, "client": "c", "call": 1, "event": "invoke"}\n'
            '{"at": 1, "client": "c", "call": 1, "event": "invoke"}',
            ":2: call 1 begins twice",
        ),
    ],
)
def test_what_is_no_history_is_refused_with_its_line(
    text: str, said: str, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text + "\n")
    with pytest.raises(ValueError, match=said):
        read_history(path)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="expected read, write or cas, not 'add'"):
        check_linearizable([Operation(name="add", began=0, ended=1)])
    with pytest.raises(ValueError, match="it ended before it began"):
        check_linearizable([Operation(name="read", began=1, ended=1)])
