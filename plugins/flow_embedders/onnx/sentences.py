"""A sentence model: texts to tokens, tokens through the model, its output to one vector a text."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Iterator, Sequence
from glob import escape
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from flowcore.errors import AssemblyError, EmbeddingFailed
from flowcore.text import well_formed

if TYPE_CHECKING:
    from flowcore.routing import Vectors

Pooling = Literal["mean", "cls", "model"]
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_CHUNK = 1 << 20
_SLACK = 8
"""Tokens by which texts that go through the model together may differ, besides half of their length."""


class SentenceModel:
    """Vectors from texts, `batch` at a time at most. Not for two threads at once."""

    def __init__(
        self,
        model: pathlib.Path,
        tokenizer: pathlib.Path,
        *,
        pooling: Pooling,
        max_tokens: int,
        threads: int,
    ) -> None:
        """Load it. Raises AssemblyError if it cannot be used."""
        try:
            import onnxruntime
            from tokenizers import Tokenizer
        except ImportError as error:
            raise AssemblyError(
                f"{error.name} is missing: pip install 'flowcore[onnx]' brings what models need"
            ) from error
        try:
            self._tokenizer = Tokenizer.from_file(str(tokenizer))
        except Exception as error:  # the library raises bare Exceptions
            raise AssemblyError(f"{tokenizer}: is no tokenizer: {error!s:.200}") from None
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors; what fails is raised, too
        # a thread that waits for work sleeps: the processor is for others then
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(model), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # of classes that onnxruntime does not name
            raise AssemblyError(f"{model}: is no model: {error!s:.200}") from None
        self._pooling = pooling
        self._inputs = self._asked(model)
        self._output = self._answered(model)
        self.dimensions = self._tried(model, max_tokens)

    def _asked(self, model: pathlib.Path) -> tuple[str, ...]:
        names = tuple(one.name for one in self._session.get_inputs())
        unknown = sorted(set(names) - set(_INPUTS))
        if unknown or "input_ids" not in names:
            raise AssemblyError(
                f"{model}: takes {', '.join(names)}, which are not a sentence model's inputs"
                f" ({', '.join(_INPUTS)})"
            )
        return names

    def _answered(self, model: pathlib.Path) -> str:
        """The output that is used."""
        rank = 2 if self._pooling == "model" else 3
        outputs = self._session.get_outputs()
        for one in outputs:
            if len(one.shape) == rank:
                name: str = one.name
                return name
        shapes = ", ".join(f"{one.name} {one.shape}" for one in outputs)
        wanted = "(texts, dimensions)" if rank == 2 else "(texts, tokens, dimensions)"
        raise AssemblyError(
            f"{model}: pooling {self._pooling!r} needs an output of the form {wanted}, and it has {shapes}"
        )

    def _tried(self, model: pathlib.Path, max_tokens: int) -> int:
        """The dimensions of its vectors, by a text of as many tokens as may be, so that it fails now."""
        encoded = self._tokenizer.encode_batch_fast(["x " * max_tokens])
        try:
            dimensions: int = self._vectors(encoded).shape[-1]
        except EmbeddingFailed as error:
            raise AssemblyError(f"{model}: fails for {max_tokens} tokens: {error}") from error
        return dimensions

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Shape (n, dimensions), of length one; zeros for a text without a token. Raises EmbeddingFailed."""
        made = np.zeros((len(texts), self.dimensions), np.float32)
        # of the batch's calls it is this one that releases the interpreter's lock
        encoded = self._tokenizer.encode_batch_fast([well_formed(text) for text in texts])
        for rows in _alike([len(one.ids) for one in encoded]):
            rows = [row for row in rows if not all(encoded[row].special_tokens_mask)]
            if rows:
                made[rows] = self._vectors([encoded[row] for row in rows])
        return made

    def _vectors(self, encoded: list[Any]) -> Vectors:
        shape = (len(encoded), max(len(one.ids) for one in encoded))
        ids, mask, types = (np.zeros(shape, np.int64) for _ in range(3))
        for row, one in enumerate(encoded):
            count = len(one.ids)
            ids[row, :count] = one.ids
            mask[row, :count] = 1
            types[row, :count] = one.type_ids
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        try:
            (output,) = self._session.run(
                [self._output], {name: given[name] for name in self._inputs}
            )
        except Exception as error:
            raise EmbeddingFailed(f"the model failed: {error!s:.200}") from error
        vectors = self._pooled(output.astype(np.float32, copy=False), mask)
        lengths: Vectors = np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float32)
        if not np.isfinite(lengths).all():
            raise EmbeddingFailed("the model gave values that are not finite")
        lengths[lengths == 0] = 1
        return vectors / lengths

    def _pooled(self, output: npt.NDArray[np.float32], mask: npt.NDArray[np.int64]) -> Vectors:
        if self._pooling == "model":
            return output
        if self._pooling == "cls":
            return output[:, 0]
        weights = mask.astype(np.float32)
        weights /= weights.sum(axis=1, keepdims=True)  # at least the tokens that mark its ends
        pooled: Vectors = np.matmul(weights[:, None, :], output)[:, 0]
        return pooled


def _alike(lengths: list[int]) -> Iterator[list[int]]:
    """Rows of about the same length together, since each text costs as much as the longest beside it."""
    rows: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if rows and lengths[row] > lengths[rows[0]] * 1.5 + _SLACK:
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


def digest(model: pathlib.Path, tokenizer: pathlib.Path) -> str:
    """SHA-256 of all that makes the vectors: the model, the data beside it, the tokenizer."""
    # weights of a large model are in a file of its own: model.onnx_data, model.onnx.data
    data = sorted(model.parent.glob(f"{escape(model.name)}[._]data*"))
    whole = hashlib.sha256()
    for path in (model, *data, tokenizer):
        one = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                one.update(chunk)
        whole.update(one.digest())
    return whole.hexdigest()
