"""Who lies to readers."""

from __future__ import annotations

from typing import Any

import msgspec

from support.bft_world.liar import Liar
from support.bft_world.strategies.strategy import Out, Strategy


class ReadLiar(Strategy):
    """Tells readers of heights that are long past, or that never were."""

    name = "read liar"

    def says(self, liar: Liar, to: str, message: Any) -> Out:
        if type(message).__name__ != "ReadAnswer":
            return [(to, message)]
        self.told += 1
        height = liar.chance.choice((0, message.height + liar.chance.randrange(1, 5)))
        return [(to, msgspec.structs.replace(message, height=height))]
