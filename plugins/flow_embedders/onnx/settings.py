"""The settings of `onnx`."""

from __future__ import annotations

from typing import Literal

import attrs

from flowcore.config import Size, setting
from flowcore.config import validators as v


@attrs.frozen(kw_only=True)
class OnnxConfig:
    """A sentence model from a file, and how its output becomes one vector a text."""

    model: str = setting(
        "model.onnx", validator=v.non_empty(), help="its file, relative to the configuration"
    )
    package: str | None = setting(
        None,
        validator=v.matches(r"[A-Za-z_][A-Za-z0-9_]*", "the name of a Python package"),
        help="an installed package: `model` and `tokenizer` are relative to its folder",
    )
    tokenizer: str | None = setting(
        None, validator=v.non_empty(), help="its tokenizer; unset: tokenizer.json beside the model"
    )
    pooling: Literal["mean", "cls", "model"] = setting(
        "mean",
        help="the mean of its tokens' vectors, that of the first, or `model`: it gives one a text itself",
    )
    max_characters: int = setting(
        20_000, validator=v.ge(1), help="of a longer text only so many characters count, its first"
    )
    max_tokens: int = setting(
        256, validator=v.in_range(3, 8192), help="and of its tokens only so many, the first"
    )
    batch: int = setting(
        16, validator=v.in_range(1, 1024), help="texts that go through the model together"
    )
    threads: int = setting(
        1, validator=v.in_range(1, 256), help="threads that the model may keep busy"
    )
    cache: Size = setting(
        64 << 20, validator=v.ge(0), help="most bytes of vectors that are kept; 0 for none"
    )
