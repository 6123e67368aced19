"""The benchmark of links runs, small, and says what it could not measure."""

from __future__ import annotations

import pytest

from benchmarks import links
from benchmarks.contenders import PEERS


@pytest.mark.long
def test_the_family_measures_hops_and_throughput(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOW_LINKS_CALLS", "30")
    monkeypatch.setenv("FLOW_LINKS_ROUNDS", "1")
    figures = {one.name: one for one in links.run()}
    assert all(one.value is not None for one in figures.values())
    assert figures["forwarded call: added by one hop, p50"].bar == 1.5
    hop = figures["hop by a link, p50"]
    assert hop.peers.keys() == {links.GRPC, links.HTTP}
    assert hop.peers[links.HTTP].value
    measured = (PEERS / "links" / "bin" / "python").exists()
    assert (hop.peers[links.GRPC].value is not None) == measured
    assert figures["messages of 64 bytes, one way"].unit == "/s"
    assert figures["chunks of 64 KiB through a stream"].peers[links.TLS].value
    assert {"hop", "forwarded call", links.GRPC} <= links.setup().keys()
