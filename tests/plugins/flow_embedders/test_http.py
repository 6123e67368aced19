"""The embedder `http` over real sockets: a server that answers well, and ones that misbehave."""

from __future__ import annotations

import email.utils
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from flow_embedders.http.answers import Unsuccessful, refused, vectors
from flow_embedders.http.embedder import HttpEmbedder
from flow_embedders.http.endpoint import Endpoint
from flow_embedders.http.settings import HttpConfig
from flowcore.assembly import Status
from flowcore.config import ConfigError, Document, NothingKnown, Secret, structure
from flowcore.errors import AgentUnavailable, EmbeddingFailed
from flowcore.flow import open_flow
from flowcore.http import ClientResponse, HeaderMap, open_client
from support.embeddings_server import (
    DIMENSIONS,
    answered,
    embeddings,
    open_embeddings_server,
    project,
)
from support.lying_server import Asked, lying

TEXTS = ["set an alarm", "what is the weather", "set an alarm", "play some jazz"]
KEY = "sk-canary-7d1f"


class Reports(list[tuple[Status, str]]):
    def __call__(self, status: Status, reason: str = "") -> None:
        self.append((status, reason))


@asynccontextmanager
async def opened(
    url: str, reports: Reports | None = None, **settings: Any
) -> AsyncGenerator[HttpEmbedder]:
    settings = {"model": "words", "dimensions": DIMENSIONS, "backoff": 1e-6, **settings}
    config = HttpConfig(url=url, **settings)
    async with open_client(
        most_connections=config.requests,
        connect_timeout=config.connect_timeout,
        body=config.max_response,
    ) as client:
        endpoint = Endpoint(config, client, random.Random(7))
        yield HttpEmbedder(config, endpoint, Reports() if reports is None else reports)


# ---- a server that answers well


async def test_it_asks_as_openai_is_asked_and_gives_vectors_of_length_one() -> None:
    async with (
        open_embeddings_server() as server,
        opened(server.url, key=Secret(KEY)) as embedder,
    ):
        made = await embedder.embed(TEXTS)
        np.testing.assert_allclose(made, [project(text) for text in TEXTS], atol=1e-6)
        assert made.dtype == np.float32
        assert server.asked == [
            {
                "model": "words",
                "input": ["set an alarm", "what is the weather", "play some jazz"],
                "encoding_format": "float",
            }
        ]
        assert server.headers[0][b"authorization"] == f"Bearer {KEY}".encode()
        await embedder.embed(TEXTS)
        status = embedder.status()
        assert status["requests"] == 1
        assert status["texts"] == 8
        assert status["embedded"] == 3
        assert status["cache"]["hits"] == 5
        assert status["seconds"] > 0


async def test_without_a_key_none_is_sent_and_dimensions_only_when_asked_for() -> None:
    async with open_embeddings_server() as server:
        async with opened(server.url, shorten=True) as embedder:
            await embedder.embed(["x"])
        assert b"authorization" not in server.headers[0]
        assert server.asked[0]["dimensions"] == DIMENSIONS


async def test_many_texts_go_in_batches_a_few_requests_at_a_time() -> None:
    async with (
        open_embeddings_server() as server,
        opened(server.url, batch=7, requests=3) as embedder,
    ):
        texts = [f"text {number}" for number in range(100)]
        made = await embedder.embed(texts)
        np.testing.assert_allclose(made, [project(text) for text in texts], atol=1e-6)
        assert sorted(len(body["input"]) for body in server.asked) == [2, *[7] * 14]
        assert server.most <= 3


async def test_answers_out_of_order_are_put_in_order() -> None:
    async with open_embeddings_server() as server, opened(server.url) as embedder:
        server.misbehave = lambda body: answered({"data": embeddings(body["input"])["data"][::-1]})
        made = await embedder.embed(["one", "two", "three"])
        np.testing.assert_allclose(
            made, [project(text) for text in ("one", "two", "three")], atol=1e-6
        )


async def test_what_says_nothing_is_not_asked_for_and_long_texts_are_cut() -> None:
    async with (
        open_embeddings_server() as server,
        opened(server.url, max_characters=5) as embedder,
    ):
        made = await embedder.embed(["", " \n", "\ud800abc", "0123456789"])
        assert not made[:2].any()
        assert server.asked[0]["input"] == ["?abc", "01234"]
        assert embedder.status()["cut"] == 1
        await embedder.embed([""])
        assert len(server.asked) == 1


async def test_identities_tell_models_revisions_and_cuts_apart() -> None:
    async def identity(**settings: Any) -> object:
        async with opened("http://127.0.0.1:1/", **settings) as embedder:
            return embedder.identity

    first = await identity()
    others: list[dict[str, Any]] = [
        {"model": "other"},
        {"revision": "2"},
        {"dimensions": 3},
        {"max_characters": 9},
    ]
    assert len({first, *[await identity(**other) for other in others]}) == 5
    assert await identity(batch=3, cache=0, key=Secret(KEY)) == first


# ---- ones that misbehave


def without(key: str) -> Any:
    return lambda item: {name: value for name, value in item.items() if name != key}


def changed(**values: Any) -> Any:
    return lambda item: {**item, **values}


BROKEN: dict[str, tuple[Any, str]] = {
    "nothing": (lambda data: b"", "is not what an embeddings endpoint answers"),
    "HTML": (lambda data: b"<html>hello</html>", "is not what an embeddings endpoint answers"),
    "no object": (lambda data: [], "is not what an embeddings endpoint answers"),
    "no data": (lambda data: {"object": "list"}, "missing required field `data`"),
    "data of another type": (lambda data: {"data": "x"}, "Expected `array`, got `str`"),
    "too few": (lambda data: {"data": data[:1]}, "has 1 vectors for 2 texts"),
    "too many": (lambda data: {"data": [*data, data[0]]}, "has 3 vectors for 2 texts"),
    "one twice": (lambda data: {"data": [data[0]] * 2}, "has the index 0 twice"),
    "an index too large": (
        lambda data: {"data": [data[0], changed(index=2)(data[1])]},
        "has the index 2 twice, or it is none of 2 texts",
    ),
    "a negative index": (
        lambda data: {"data": [changed(index=-1)(data[0]), data[1]]},
        "has the index -1",
    ),
    "an index that is none": (
        lambda data: {"data": [changed(index="0")(data[0]), data[1]]},
        "Expected `int`, got `str`",
    ),
    "no index": (
        lambda data: {"data": [without("index")(item) for item in data]},
        "missing required field `index`",
    ),
    "no vector": (
        lambda data: {"data": [without("embedding")(item) for item in data]},
        "missing required field `embedding`",
    ),
    "other dimensions": (
        lambda data: {"data": [data[0], changed(embedding=[1.0] * 63)(data[1])]},
        "has a vector of 63 dimensions, not the 64 that are configured",
    ),
    "zeros": (
        lambda data: {"data": [data[0], changed(embedding=[0.0] * 64)(data[1])]},
        "has nothing but zeros for text 2 of 2",
    ),
    "no numbers at all": (
        lambda data: {"data": [data[0], changed(embedding=[])(data[1])]},
        "has a vector of 0 dimensions",
    ),
    "null": (
        lambda data: {"data": [data[0], changed(embedding=None)(data[1])]},
        "Expected `array`, got `null`",
    ),
    "texts for numbers": (
        lambda data: {"data": [data[0], changed(embedding=["1"] * 64)(data[1])]},
        "Expected `float`, got `str`",
    ),
    "NaN": (
        lambda data: {"data": [data[0], changed(embedding=[float("nan")] * 64)(data[1])]},
        "is not what an embeddings endpoint answers",
    ),
    "infinity": (
        lambda data: (
            b'{"data":[{"index":0,"embedding":[1e999%b]},{"index":1,"embedding":[1%b]}]}'
            % (b",1" * 63, b",1" * 63)
        ),
        "not finite|is not what an embeddings endpoint answers",
    ),
    "100,000 levels": (
        lambda data: b'{"data":[],"more":%b%b}' % (b"[" * 100_000, b"]" * 100_000),
        "is not what an embeddings endpoint answers|has 0 vectors",
    ),
    "bad UTF-8": (lambda data: b'{"data":[],"\xff":1}', "embeddings endpoint|has 0 vectors"),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_an_answer_that_is_not_right_is_refused_and_not_asked_for_again(how: str) -> None:
    change, said = BROKEN[how]
    async with open_embeddings_server() as server, opened(server.url) as embedder:
        server.misbehave = lambda body: answered(change(embeddings(body["input"])["data"]))
        with pytest.raises(EmbeddingFailed, match=said):
            await embedder.embed(["one", "two"])
        assert len(server.asked) == 1
        assert embedder.status()["failures"] == 1
        server.misbehave = lambda body: None
        np.testing.assert_allclose(await embedder.embed(["one"]), [project("one")], atol=1e-6)


def test_values_of_any_size_have_length_one() -> None:
    for value in ("1e300", "1e-300", "5", "-1e-320"):
        body = b'{"data":[{"index":0,"embedding":[%b,%b]}]}' % ((value.encode(),) * 2)
        assert np.linalg.norm(vectors(body, 1, 2)) == pytest.approx(1, abs=1e-6)
    for value in ("0", "-0.0", "1e-999"):
        body = b'{"data":[{"index":0,"embedding":[%b,%b]}]}' % ((value.encode(),) * 2)
        with pytest.raises(Unsuccessful, match="nothing but zeros for text 1 of 1"):
            vectors(body, 1, 2)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 599])
async def test_what_passes_is_tried_again(status: int) -> None:
    async with open_embeddings_server() as server, opened(server.url) as embedder:
        bad = iter([answered({"error": "later"}, status)] * 2)
        server.misbehave = lambda body: next(bad, None)
        np.testing.assert_allclose(await embedder.embed(["one"]), [project("one")], atol=1e-6)
        assert embedder.status()["requests"] == 3
        assert embedder.status()["retries"] == 2
        assert embedder.status()["failures"] == 0


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 413, 422])
async def test_what_does_not_pass_is_not_tried_again_and_hides_the_key(status: int) -> None:
    async with (
        open_embeddings_server() as server,
        opened(server.url, key=Secret(KEY)) as embedder,
    ):
        server.misbehave = lambda body: answered(
            {"error": {"message": f"wrong key\n\x1b[31m {KEY}"}}, status
        )
        with pytest.raises(EmbeddingFailed, match=rf"answered {status}: .*wrong key") as caught:
            await embedder.embed(["one"])
        assert embedder.status()["requests"] == 1
        assert KEY not in str(caught.value)
        assert "***" in str(caught.value)
        assert str(caught.value).isprintable()


async def test_after_its_attempts_it_gives_up_says_so_and_recovers() -> None:
    reports = Reports()
    async with open_embeddings_server() as server, opened(server.url, reports) as embedder:
        server.misbehave = lambda body: answered({}, 503)
        for _ in range(2):
            with pytest.raises(EmbeddingFailed, match=rf"{server.url}: no vectors: .*answered 503"):
                await embedder.embed(["one"])
        assert [status for status, _ in reports] == [Status.DEGRADED] * 2
        assert "answered 503" in reports[0][1]
        server.misbehave = lambda body: None
        await embedder.embed(["one"])
        await embedder.embed(["two"])
        assert reports[2:] == [(Status.OK, "")]
        assert embedder.status()["failures"] == 2


async def test_one_batch_that_fails_ends_the_call_and_is_its_own() -> None:
    async with open_embeddings_server() as server, opened(server.url, batch=1) as embedder:
        server.misbehave = lambda body: answered({}, 400) if body["input"] == ["bad"] else None
        with pytest.raises(EmbeddingFailed, match="answered 400"):
            await embedder.embed(["good", "bad", "better"])
        np.testing.assert_allclose(await embedder.embed(["good"]), [project("good")], atol=1e-6)


CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "the connection ended before the answer"),
        (CUT, "the connection ended within the answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "answer"),
    ],
)
async def test_what_is_no_http_is_tried_again_and_then_named(answer: bytes, said: str) -> None:
    async with lying(answer) as server, opened(server.url) as embedder:
        with pytest.raises(EmbeddingFailed, match=said):
            await embedder.embed(["one"])
        assert len(server.asked) == 3


async def test_nobody_there_is_named() -> None:
    async with opened("http://127.0.0.1:1/v1/embeddings") as embedder:
        with pytest.raises(EmbeddingFailed, match="no vectors: no connection to"):
            await embedder.embed(["one"])
        assert embedder.status()["retries"] == 2


async def test_an_answer_without_end_is_cut_off() -> None:
    async def flood(asked: Asked) -> None:
        await asked.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await asked.flood(b"1000\r\n" + b" " * 4096 + b"\r\n")

    async with lying(flood) as server, opened(server.url, max_response=1 << 16) as embedder:
        with pytest.raises(EmbeddingFailed, match="65,?536 bytes"):
            await embedder.embed(["one"])
        assert len(server.asked) == 1


async def test_one_that_does_not_answer_is_left_at_the_deadline() -> None:
    async def silent(asked: Asked) -> None:
        del asked
        await trio.sleep_forever()

    async with lying(silent) as server, opened(server.url, deadline=0.2) as embedder:
        with pytest.raises(EmbeddingFailed, match=r"no vectors within 0\.2 s: it did not answer"):
            await embedder.embed(["one"])


async def test_it_does_not_wait_for_what_would_be_too_late() -> None:
    async with open_embeddings_server() as server, opened(server.url) as embedder:
        server.misbehave = lambda body: answered({}, 429, (b"retry-after", b"3600"))
        with pytest.raises(EmbeddingFailed, match=r"it is to be asked again in 3600\.\d s"):
            await embedder.embed(["one"])
        assert embedder.status()["requests"] == 1


async def test_it_comes_back_when_it_is_told_to(autojump_clock: trio.abc.Clock) -> None:
    """On the mock clock, by answers that are no sockets': who comes too early is refused again."""
    config = HttpConfig(url="http://x/", model="m", dimensions=2, attempts=2)

    class TwoAnswers:
        def __init__(self) -> None:
            self.came: list[float] = []

        async def request(self, *args: Any, **kwargs: Any) -> Any:
            self.came.append(trio.current_time())
            if len(self.came) == 1:
                return ClientResponse(429, HeaderMap({b"retry-after": b"7"}), b"")
            return ClientResponse(200, HeaderMap(), b'{"data":[{"index":0,"embedding":[3,4]}]}')

    client = TwoAnswers()
    endpoint = Endpoint(config, client, random.Random(1))  # type: ignore[arg-type]
    made = await endpoint.vectors(["one"])
    assert made.tolist() == [pytest.approx([0.6, 0.8])]
    assert 7 <= client.came[1] - client.came[0] <= 7 + config.backoff


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("7", 7),
        (" 7 ", 7),
        ("-7", 0),
        ("1e9", 0),
        ("9" * 400, 0),
        ("soon", 0),
        (email.utils.formatdate(1_000_090, usegmt=True), 90),
        (email.utils.formatdate(900_000, usegmt=True), 0),
        ("Fri, 99 Foo 9999 99:99:99 GMT", 0),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str | None, seconds: float) -> None:
    failure = refused(503, b"", value, 1_000_000.0)
    assert failure.after == seconds
    assert failure.again
    assert isinstance(failure, Unsuccessful)


async def test_a_caller_that_goes_away_ends_its_request() -> None:
    gone = trio.Event()

    async def wait() -> None:
        try:
            await trio.sleep_forever()
        finally:
            gone.set()

    async with open_embeddings_server() as server, opened(server.url) as embedder:
        server.wait = wait
        async with trio.open_nursery() as nursery:
            nursery.start_soon(embedder.embed, ["one"])
            while not server.asked:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        await gone.wait()
        server.wait = None
        np.testing.assert_allclose(await embedder.embed(["one"]), [project("one")], atol=1e-6)


async def test_connections_that_were_kept_and_died_are_no_failure() -> None:
    async def once(asked: Asked) -> None:
        body = b'{"data":[{"index":0,"embedding":[1,0]}]}'
        await asked.answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await asked.stream.aclose()

    async with lying(once) as server, opened(server.url, dimensions=2, attempts=1) as embedder:
        for text in ("one", "two", "three"):
            await embedder.embed([text])
        assert server.connections == 3


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"url": "ftp://x"}, "url: "),
        ({"model": ""}, "model: expected something"),
        ({"dimensions": 0}, "dimensions: expected between 1 and 65536"),
        ({"key": "in clear"}, "a secret is not written in the file"),
        ({"key": {"env": "MODELS_KEY"}}, "key: expected a key of printable ASCII"),
        ({"tls": {"ca": "x"}}, "expected `tls` only beside an https `url`"),
        ({"atempts": 2}, "did you mean 'attempts'"),
    ],
)
def test_wrong_settings_are_named(
    table: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELS_KEY", "one\r\nx-evil: 1")
    table = {"url": "http://x/", "model": "m", "dimensions": 2, **table}
    with pytest.raises(ConfigError, match=said):
        structure(Document(tree=table, folder=Path()), HttpConfig, NothingKnown())


async def test_in_a_flow_callers_hear_why_and_are_served_when_it_is_back(tmp_path: Path) -> None:
    async with open_embeddings_server() as server:
        embedder = {"type": "http", "url": server.url, "model": "words", "dimensions": DIMENSIONS}
        config = {
            "node": {"data_dir": str(tmp_path)},
            "router": {"embedder": {**embedder, "backoff": "1us"}},
            "agent": {"text": {"type": "python", "target": "support.agents:echo"}},
        }
        async with open_flow(config) as flow:
            await flow.wait_settled()
            server.misbehave = lambda body: answered({}, 503)
            with pytest.raises(AgentUnavailable, match=r"no vectors: .* answered 503"):
                await flow.find_tools("say it again")
            server.misbehave = lambda body: None
            assert "text.echo" in [tool["name"] for tool in await flow.find_tools("echo this")]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param([0.0] * DIMENSIONS, "has nothing but zeros for text 1 of 1", id="zeros"),
        pytest.param([float("nan")] * DIMENSIONS, "is not what an embeddings endpoint", id="NaN"),
        pytest.param([1.0] * 3, "has a vector of 3 dimensions, not the 64", id="dimensions"),
    ],
)
async def test_memory_refuses_a_text_that_gets_no_vector_and_takes_it_later(
    tmp_path: Path, values: list[float], said: str
) -> None:
    async with open_embeddings_server() as server:
        embedder = {"type": "http", "url": server.url, "model": "words", "dimensions": DIMENSIONS}
        config = {"node": {"data_dir": str(tmp_path)}, "router": {"embedder": embedder}}
        async with open_flow(config) as flow:
            note = {"text": "the ferry leaves at noon", "key": "ferry"}
            server.misbehave = lambda body: answered(
                {"data": [{"index": 0, "embedding": values} for _ in body["input"]]}
            )
            with pytest.raises(
                EmbeddingFailed, match=f"{server.url}: no vectors: the answer {said}"
            ):
                await flow.call("memory.put", note)
            assert (await flow.call("memory.get", {"key": "ferry"})).is_error, "nothing is kept"
            unwell = {one.component: one for one in flow.components()}["router.embedder"]
            assert unwell.status is Status.DEGRADED
            assert said in unwell.reason
            server.misbehave = lambda body: None
            await flow.call("memory.put", note)
            found = await flow.call("memory.search", {"query": "when does the ferry leave"})
            assert found.structured["found"][0]["key"] == "ferry"
