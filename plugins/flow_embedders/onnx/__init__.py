"""`onnx`: vectors of a sentence model, from a file, by onnxruntime.

    [router]
    embedder = { type = "onnx", model = "models/minilm/model.onnx" }

A model that is not here yet can come as a package: `package` names one that is installed, and `model` is then
looked up within it. The tokenizer is a `tokenizer.json` as the `tokenizers` library writes it.
"""

from __future__ import annotations

import importlib.util
import pathlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from flow_embedders.onnx.settings import OnnxConfig
from flowcore.errors import AssemblyError
from flowcore.hookspecs import Context, Factory, Registry, hookimpl

if TYPE_CHECKING:
    from flow_embedders.onnx.embedder import OnnxEmbedder


def found(config: OnnxConfig, config_dir: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """The files of model and tokenizer. Raises AssemblyError if one is not there."""
    folder = config_dir
    if config.package is not None:
        spec = importlib.util.find_spec(config.package)  # which does not import it
        if spec is None or not spec.submodule_search_locations:
            raise AssemblyError(f"the package {config.package!r} is not installed")
        folder = pathlib.Path(spec.submodule_search_locations[0])
    model = folder / config.model
    tokenizer = model.parent / "tokenizer.json"
    if config.tokenizer is not None:
        tokenizer = folder / config.tokenizer
    for what, path in (("model", model), ("tokenizer", tokenizer)):
        if not path.is_file():
            raise AssemblyError(f"the {what} {str(path)!r} is not there")
    return model, tokenizer


@asynccontextmanager
async def open_onnx(config: OnnxConfig, context: Context) -> AsyncGenerator[OnnxEmbedder]:
    """The embedder, its model loaded and tried."""
    from flow_embedders.onnx.embedder import open_embedder

    model, tokenizer = found(config, context.config_dir)
    async with open_embedder(config, model, tokenizer) as embedder:
        yield embedder


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("embedder", "onnx", OnnxConfig, open_onnx, stability="beta"))
