"""Who runs twice."""

from __future__ import annotations

from support.bft_world.strategies.strategy import Strategy


class Twin(Strategy):
    """Runs twice, see `twins`."""

    name = "twins"
    twins = True
