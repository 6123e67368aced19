"""What a tool says of itself, whatever it wrote."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import Raw

from flowcore.agents import Listed, Tool
from flowcore.routing.experts import LONGEST, embedded, texts_of, vectors_of, words_of


def listed(name: str, **definition: Any) -> Listed:
    raw = Raw(msgspec.json.encode({"name": name.partition(".")[2], **definition}))
    return Listed(name, name.partition(".")[0], Tool(name=name.partition(".")[2], definition=raw))


def test_the_words_of_a_name_are_in_lower_case_and_apart() -> None:
    assert words_of("git.git_log") == "git git log"
    assert words_of("time.getCurrentTime") == "time get current time"
    assert words_of("web.HTTPFetch2") == "web http fetch2"
    assert words_of("k8s_apply.base64-encode") == "k8s apply base64 encode"
    assert words_of("S3Bucket/2FACode/401k_2") == "s3 bucket 2fa code 401k 2"
    assert words_of("...") == ""
    assert words_of("größe_ändern") == "größe ändern"
    assert words_of("погода.прогнозПогоды") == "погода прогноз погоды"
    assert words_of("天気.予報") == "天気 予報"


def test_name_description_both_parameters_agent_and_examples_are_texts_of_their_own() -> None:
    one = listed(
        "clock.now",
        title="Now",
        description="Tells the time.",
        inputSchema={
            "properties": {
                "timeZone": {"type": "string", "description": "IANA name"},
                "style": {"enum": ["short", "long"]},
            }
        },
        _meta={"io.flowcore/examples": ["what time is it in Oslo", 7, "  "]},
    )
    assert texts_of(one, "a clock") == (
        "clock now",
        "Now. Tells the time.",
        "clock now: Now. Tells the time.",
        "time zone IANA name. style short long",
        "a clock",
        "what time is it in Oslo",
    )


@pytest.mark.parametrize(
    "definition",
    [
        {},
        {"description": None, "inputSchema": 7, "annotations": [], "_meta": "x"},
        {"description": {"a": 1}, "inputSchema": {"properties": [1]}},
        {"inputSchema": {"properties": {"a": 5, "b": {"enum": 3, "description": 4}}}},
        {"_meta": {"io.flowcore/examples": "no list"}},
    ],
)
def test_whatever_a_tool_writes_its_name_is_a_text(definition: dict[str, Any]) -> None:
    texts = texts_of(listed("a.b", **definition))
    assert texts[0] == "a b"
    assert all(texts)


def test_what_is_too_long_is_cut() -> None:
    texts = texts_of(listed("a.b", description="word " * 10**6))
    assert len(texts[1]) == LONGEST


def test_no_json_at_all_leaves_the_name() -> None:
    tool = Tool(name="b", definition=Raw(b"\xff nonsense"))
    assert texts_of(Listed("a.b", "a", tool)) == ("a b",)


def test_a_bare_name_is_embedded_as_a_request_has_it_too() -> None:
    bare = texts_of(listed("bank.balance"))
    assert embedded(bare) == ("bank balance", "i want to ask about bank balance")
    rows = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    assert vectors_of(bare, rows).tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("definition", [{"description": "How much money there is"}, None])
def test_what_says_more_or_nothing_is_embedded_as_it_is(definition: Any) -> None:
    texts = () if definition is None else texts_of(listed("bank.balance", **definition))
    rows = np.ones((len(texts), 2), np.float32)
    assert embedded(texts) == texts
    assert vectors_of(texts, rows) is rows
