"""What a way to lie is, and what several of them need.

A strategy sees every message before it goes out (`says`) and before the engine hears it (`hears`), and each
tick. Several of them may be one liar's at the same time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from support.bft_world.liar import Liar
from support.simulation.machine import Command, encode

Out = Iterable[tuple[str, Any]]


class Strategy:
    """One that tells no lies."""

    name = "honest"
    twins = False
    """Whether the node runs twice."""
    corrupts = False
    """Whether it lies about what others take in who are far behind."""

    def __init__(self) -> None:
        self.told = 0
        """How often it has lied."""

    def says(self, liar: Liar, to: str, message: Any) -> Out:
        """What goes out in the place of a message of the engine's."""
        return [(to, message)]

    def hears(self, liar: Liar, sender: str, message: Any) -> bool:
        """A message has come; whether the engine hears it, too."""
        return True

    def ticks(self, liar: Liar) -> None:
        """Time passes."""

    def state(self, liar: Liar, height: int, dump: bytes) -> bytes:
        """What is sent in the place of the state at a checkpoint."""
        return dump


def own(liar: Liar, message: Any, *kinds: int) -> Any:
    """The statement of a message, if it is the liar's own and of one of these kinds."""
    signed = getattr(message, "signed", None)
    return (
        signed
        if signed is not None and signed.signer == liar.name and signed.kind in kinds
        else None
    )


def junk(liar: Liar, number: int) -> bytes:
    """A command that changes no client's state."""
    return encode(Command(f"liar {liar.name}", number, "write", "lies", number))
