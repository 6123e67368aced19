"""Sentence models for tests: tiny ones made by chance, and the real one that `make models` brings."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from benchmarks.minilm import MINILM, bert

HIDDEN = 32
POSITIONS = 64
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789äöüß列出所有文件"
_WORDS = "what is the weather like in paris today transfer money to my savings account please , is".split()  # noqa: SIM905


def tokenizer() -> Tokenizer:
    """WordPiece over a few words and all their letters, with BERT's marks at both ends."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *_WORDS]
    pieces += [*_LETTERS, *(f"##{letter}" for letter in _LETTERS)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    made.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.enable_padding(length=50)  # which whoever uses it must turn off
    return made


def weights(seed: int = 7, layers: int = 2) -> dict[str, npt.NDArray[Any]]:
    """BERT's weights, by chance; words weigh more than positions, as in a model that was trained."""
    chance = np.random.default_rng(seed)

    def some(*shape: int, scale: float = 0.1) -> npt.NDArray[Any]:
        return (chance.standard_normal(shape) * scale).astype(np.float32)

    made = {
        "embeddings.word_embeddings.weight": some(tokenizer().get_vocab_size(), HIDDEN, scale=1),
        "embeddings.position_embeddings.weight": some(POSITIONS, HIDDEN),
        "embeddings.token_type_embeddings.weight": some(2, HIDDEN),
    }
    for prefix in ("embeddings.", *_parts(layers, "attention.output.", "output.")):
        made[f"{prefix}LayerNorm.weight"] = np.ones(HIDDEN, np.float32)
        made[f"{prefix}LayerNorm.bias"] = some(HIDDEN, scale=0.02)
    own = ("attention.self.query", "attention.self.key", "attention.self.value")
    for name in _parts(layers, *own, "attention.output.dense"):
        made[f"{name}.weight"], made[f"{name}.bias"] = some(HIDDEN, HIDDEN), some(HIDDEN)
    for name in _parts(layers, "intermediate.dense"):
        made[f"{name}.weight"], made[f"{name}.bias"] = some(4 * HIDDEN, HIDDEN), some(4 * HIDDEN)
    for name in _parts(layers, "output.dense"):
        made[f"{name}.weight"], made[f"{name}.bias"] = some(HIDDEN, 4 * HIDDEN), some(HIDDEN)
    return made


def _parts(layers: int, *names: str) -> list[str]:
    return [f"encoder.layer.{layer}.{name}" for layer in range(layers) for name in names]


def tiny(folder: pathlib.Path, seed: int = 7) -> pathlib.Path:
    """A model of two layers and its tokenizer in a folder; the path of the model."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer().save(str(folder / "tokenizer.json"))
    model = bert(weights(seed), heads=4, epsilon=1e-12)
    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    return folder / "model.onnx"


def odd(
    folder: pathlib.Path,
    *nodes: onnx.NodeProto,
    inputs: tuple[str, ...] = ("input_ids",),
    shape: tuple[str | int, ...] = ("batch", "sequence", 1),
    constants: tuple[onnx.TensorProto, ...] = (),
) -> pathlib.Path:
    """A model of these nodes, which make `out` of what it is given."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer().save(str(folder / "tokenizer.json"))
    graph = helper.make_graph(
        list(nodes),
        "odd",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ("batch", "sequence"))
            for name in inputs
        ],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)],
        list(constants),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def minilm() -> pathlib.Path:
    """The folder of the real model; the test is skipped, and says so, where it is missing."""
    if not (MINILM / "model.onnx").is_file():
        pytest.skip("all-MiniLM-L6-v2 is missing: `make models` brings it")
    return MINILM
