"""Shared memory: put away, found by meaning, by key and by time; for whom it is; out and in again."""

from __future__ import annotations

import logging
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import pytest

from flowcore import Flow, Principal, open_flow
from flowcore.errors import (
    InvalidArguments,
    OtherEmbedder,
    PermissionDenied,
    TooLarge,
    VersionConflict,
)
from flowcore.routing import ROUTES
from flowcore.state import PatternLine


def configured(folder: pathlib.Path, **router: Any) -> dict[str, Any]:
    return {
        "node": {"data_dir": str(folder / "data"), "seed": 7},
        "router": {"gate": "similarity", **router},
    }


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


async def found(flow: Flow, query: str, **how: Any) -> list[str]:
    result = await flow.call("memory.search", {"query": query, **how})
    return [one["key"] for one in result.structured["found"]]


async def put(flow: Flow, text: str, **how: Any) -> dict[str, Any]:
    made: dict[str, Any] = (await flow.call("memory.put", {"text": text, **how})).structured
    return made


async def test_what_is_put_is_found_by_meaning_got_by_key_and_forgotten(
    tmp_path: pathlib.Path,
) -> None:
    async with open_flow(configured(tmp_path)) as flow:
        assert await put(flow, "the deployment runs on Mondays", key="deploy", value={"n": 1}) == {
            "namespace": "shared",
            "key": "deploy",
            "version": 1,
            "created": True,
        }
        await put(flow, "cats sleep most of the day", key="cats")
        assert (await found(flow, "on which day is the deployment"))[0] == "deploy"
        got = (await flow.call("memory.get", {"key": "deploy"})).structured
        assert got["text"] == "the deployment runs on Mondays"
        assert got["value"] == {"n": 1}
        for level in ("leased", "stale"):
            told = (await flow.call("memory.get", {"key": "deploy", "level": level})).structured
            assert told == {**got, "level": level}
        with pytest.raises(InvalidArguments, match='"newest" is not one of'):
            await flow.call("memory.get", {"key": "deploy", "level": "newest"})
        gone = await flow.call("memory.delete", {"key": "deploy"})
        assert gone.structured["deleted"]
        assert await found(flow, "on which day is the deployment") == ["cats"]
        again = await flow.call("memory.delete", {"key": "deploy"})
        assert not again.structured["deleted"]
        missing = await flow.call("memory.get", {"key": "deploy"})
        assert missing.is_error
        assert "there is nothing under 'deploy'" in missing.text


async def test_it_survives_a_restart(tmp_path: pathlib.Path) -> None:
    for life in range(3):
        async with open_flow(configured(tmp_path)) as flow:
            for number in range(life):
                assert (await found(flow, f"fact number {number} of memory"))[0] == f"f{number}"
            await put(flow, f"fact number {life} of memory", key=f"f{life}")


async def test_the_same_text_without_a_key_is_kept_once(tmp_path: pathlib.Path) -> None:
    async with open_flow(configured(tmp_path)) as flow:
        first = await put(flow, "said twice")
        second = await put(flow, "said twice")
        assert (first["created"], second["created"]) == (True, False)
        assert first["key"] == second["key"]
        assert len(await found(flow, "said twice")) == 1


async def test_namespaces_do_not_see_each_other(tmp_path: pathlib.Path) -> None:
    async with open_flow(configured(tmp_path)) as flow:
        await put(flow, "ours alone", key="a", namespace="team/one")
        await put(flow, "theirs alone", key="b", namespace="team/two")
        assert await found(flow, "alone", namespace="team/one") == ["a"]
        assert await found(flow, "alone", namespace="team/three") == []
        for bad in ("", "/x", "a b", "x" * 129, "é"):
            with pytest.raises(InvalidArguments, match="namespace: expected"):
                await put(flow, "x", namespace=bad)
        with pytest.raises(PermissionDenied, match="router's own"):
            await put(flow, "x", namespace=ROUTES)


async def test_time_value_and_likeness_narrow_a_search(tmp_path: pathlib.Path) -> None:
    async with open_flow(configured(tmp_path)) as flow:
        for number in range(20):
            value = {"even": number % 2 == 0, "n": number}
            await put(flow, f"note {number} about the harbour", key=f"n{number}", value=value)
        even = await found(flow, "harbour", where={"even": True}, k=20)
        assert sorted(even) == sorted(f"n{number}" for number in range(0, 20, 2))
        assert await found(flow, "harbour", where={"n": 13}, k=1) == ["n13"]
        assert await found(flow, "harbour", where={"n": 99}) == []
        assert await found(flow, "harbour", where={"even": 1}) == [], "1 is not true to JSON"
        assert await found(flow, "harbour", before=1.0) == []
        assert len(await found(flow, "harbour", after="2020-01-01", k=50)) == 20
        assert await found(flow, "harbour", after="2999-01-01T00:00:00Z") == []
        assert await found(flow, "harbour", least=0.999) == []
        wrong: tuple[dict[str, Any], ...] = (
            {"after": "tomorrow"},
            {"k": 0},
            {"k": 101},
            {"query": " "},
        )
        for bad in wrong:
            with pytest.raises(InvalidArguments):
                await found(flow, **{"query": "harbour", **bad})


async def test_a_version_holds_off_who_comes_late(tmp_path: pathlib.Path) -> None:
    async with open_flow(configured(tmp_path)) as flow:
        first = await put(flow, "one", key="k", if_version=0)
        await put(flow, "two", key="k", if_version=first["version"])
        with pytest.raises(VersionConflict):
            await put(flow, "three", key="k", if_version=first["version"])
        with pytest.raises(VersionConflict):
            await flow.call("memory.delete", {"key": "k", "if_version": first["version"]})
        got = (await flow.call("memory.get", {"key": "k"})).structured
        assert got["text"] == "two"


async def test_what_has_expired_is_not_there(tmp_path: pathlib.Path) -> None:
    async with open_flow(configured(tmp_path)) as flow:
        await put(flow, "gone at once", key="k", ttl=1e-6)
        assert (await flow.call("memory.get", {"key": "k"})).is_error
        assert await found(flow, "gone at once") == []


async def test_what_is_too_large_is_refused(tmp_path: pathlib.Path) -> None:
    async with open_flow(configured(tmp_path, memory={"text": "1KiB", "value": "1KiB"})) as flow:
        with pytest.raises(TooLarge, match="the text has 1025 bytes"):
            await put(flow, "x" * 1025)
        with pytest.raises(TooLarge, match="the value has"):
            await put(flow, "x", value="y" * 1024)
        assert await found(flow, "x") == []


async def test_a_namespace_is_for_whom_the_rules_say(tmp_path: pathlib.Path) -> None:
    config = configured(tmp_path)
    config["requests"] = {"guards": ["rules"]}
    rules = [{"allow": ["memory.put", "memory.search", "memory:team/*"], "principals": ["ann"]}]
    config["guard"] = {"rules": {"type": "permissions", "rules": rules}}
    ann = Principal(name="ann", scheme="jwt")
    async with open_flow(config) as flow:
        arguments = {"text": "x", "namespace": "team/one"}
        assert not (await flow.call("memory.put", arguments, principal=ann)).is_error
        with pytest.raises(PermissionDenied, match="namespace 'boss'"):
            await flow.call("memory.put", {"text": "x", "namespace": "boss"}, principal=ann)
        with pytest.raises(PermissionDenied):
            await flow.call("memory.get", {"key": "x", "namespace": "team/one"}, principal=ann)


async def test_patterns_go_out_and_come_in(tmp_path: pathlib.Path) -> None:
    lines: list[PatternLine] = []
    async with open_flow(configured(tmp_path / "a")) as flow:
        for number in range(7):
            await put(
                flow, f"thing {number}", key=f"k{number}", value=number, namespace=f"n{number % 3}"
            )
        cursor: str | None = None
        while True:
            page = await flow.router.porting.out(cursor=cursor)
            lines += page["patterns"]
            cursor = page["cursor"]
            if cursor is None:
                break
    assert len(lines) == 7
    async with open_flow(configured(tmp_path / "b")) as flow:
        assert await flow.router.porting.take(lines, time.time()) == 7
        assert await found(flow, "thing 4", namespace="n1", k=1) == ["k4"]
        got = (await flow.call("memory.get", {"key": "k4", "namespace": "n1"})).structured
        assert got["value"] == 4
        with pytest.raises(InvalidArguments, match=r"patterns\[1\]: expected a text"):
            await flow.router.porting.take(
                [lines[0], PatternLine(namespace="x", text="")], time.time()
            )
        with pytest.raises(InvalidArguments, match="the expert that it was for"):
            await flow.router.porting.take([PatternLine(namespace=ROUTES, text="x")], time.time())
        for cursor in ("x", "9:", "0:zzz", "-1:"):
            with pytest.raises(InvalidArguments):
                await flow.router.porting.out(cursor=cursor)


async def test_another_embedder_is_told_of_and_reembedding_mends_it(tmp_path: pathlib.Path) -> None:
    async with open_flow(configured(tmp_path)) as flow:
        for number in range(150):
            await put(flow, f"entry {number} of the ledger", key=f"e{number}")
    other = configured(tmp_path, embedder={"type": "hashed", "dimensions": 256})
    async with open_flow(other) as flow:
        assert (
            (await flow.call("memory.get", {"key": "e7"})).structured["text"].startswith("entry 7")
        )
        with pytest.raises(OtherEmbedder, match="flowctl memory reembed"):
            await found(flow, "entry 7 of the ledger")
        with pytest.raises(OtherEmbedder):
            await put(flow, "new")
        with pytest.raises(OtherEmbedder):
            await flow.route("entry")
        assert (await flow.router.reembed()).patterns == 150
        assert (await found(flow, "entry 7 of the ledger"))[0] == "e7"
        assert (await flow.router.reembed()).patterns == 0
    async with open_flow(other) as flow:
        assert (await found(flow, "entry 7 of the ledger"))[0] == "e7"


async def test_a_damaged_index_or_facts_are_made_anew(tmp_path: pathlib.Path) -> None:
    async with open_flow(configured(tmp_path)) as flow:
        for number in range(30):
            await put(flow, f"entry {number} of the ledger", key=f"e{number}")
    kept = [
        one
        for one in (tmp_path / "data").rglob("*")
        if one.is_file() and "sqlite" not in one.name and "storage" not in one.parts
    ]
    assert kept
    for path in kept:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] + b"!" + whole[len(whole) // 2 + 1 :])
        async with open_flow(configured(tmp_path)) as flow:
            assert (await found(flow, "entry 7 of the ledger"))[0] == "e7"
            assert flow.status()["router"]["memory"]["following"]["behind"] == 0


async def test_the_least_used_goes_first_where_there_is_a_cap(tmp_path: pathlib.Path) -> None:
    config = configured(tmp_path)
    config["state"] = {"patterns": 10}
    async with open_flow(config) as flow:
        for number in range(10):
            await put(flow, f"entry {number}", key=f"e{number}")
        for _ in range(2):
            await flow.call("memory.get", {"key": "e0"})
            await flow.memory.touch()
        for number in range(10, 15):
            await put(flow, f"entry {number}", key=f"e{number}")
        kept = set(await found(flow, "entry", k=100))
        assert len(kept) == 10
        assert "e0" in kept
        assert "e1" not in kept


async def test_a_query_that_comes_again_is_answered_from_the_cache(tmp_path: pathlib.Path) -> None:
    async with open_flow(configured(tmp_path)) as flow:
        await put(flow, "a thing", key="a")
        for _ in range(3):
            assert await found(flow, "thing") == ["a"]
        assert flow.status()["router"]["memory"]["cached"] == 2
        await put(flow, "another thing", key="b")
        assert sorted(await found(flow, "thing")) == ["a", "b"]
        assert flow.status()["router"]["memory"]["cached"] == 2


async def test_a_text_that_says_nothing_to_the_embedder_is_kept_by_its_key_and_that_is_said(
    tmp_path: pathlib.Path,
) -> None:
    async with open_flow(configured(tmp_path)) as flow:
        assert (await put(flow, "?!", key="wonder"))["searchable"] is False
        assert "searchable" not in await put(flow, "a word", key="word")
        got = (await flow.call("memory.get", {"key": "wonder"})).structured
        assert got["text"] == "?!"
        assert await found(flow, "?!") == []
        assert await found(flow, "word") == ["word"]
