"""Structs that are stored to on each request's way."""

from __future__ import annotations

from typing import TypeVar

import msgspec

T = TypeVar("T", bound=type[msgspec.Struct])


def stored_to(struct: T) -> T:
    """A struct whose fields are stored to as those of any object are, for which the interpreter has a way
    that takes a seventh of the time.

    msgspec's own way looks each time whether the garbage collector has to know of the struct from now on. So
    this is for one that it knows of from the beginning, since there is always an object in it that has others
    in it; or for one that it never has to know of (`gc=False`). A struct below needs it again.
    """
    struct.__setattr__ = object.__setattr__  # type: ignore[method-assign]  # in a class statement it is too early
    struct.__delattr__ = object.__delattr__  # type: ignore[method-assign]  # both are one for the interpreter
    return struct
