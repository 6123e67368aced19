"""Whole nodes of which one may lie, by Byzantine agreement: real links, real disks."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Iterator

import pytest
import trio

from support.linked import make_certificates
from support.whole_nodes import ctl, keep, nodes

VOTERS = ("alpha", "beta", "gamma", "delta")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def test_a_fifth_node_takes_the_place_of_a_voter_without_a_stop(
    tmp_path: pathlib.Path,
) -> None:
    """Two voters must be asked for each change; then the new one counts, and has all there was."""
    certs = make_certificates(tmp_path / "certs", *VOTERS, "epsilon")
    consensus = {"type": "bft", "voters": [*VOTERS], "certificates": str(certs)}
    async with nodes(tmp_path, VOTERS, certs, consensus) as made:
        alpha, beta = made.flows["alpha"], made.flows["beta"]
        await keep(alpha, "before", "kept")
        epsilon = await made.start("epsilon")
        for words in (("add", "epsilon"), ("promote", "epsilon", "--remove", "delta")):
            said = await ctl(alpha, "members", *words, check=False)
            assert "it takes 2 voters, for one may lie, and alpha want it so far" in said
            await ctl(beta, "members", *words)
            await keep(beta, f"after {words[0]}", "kept")
        await made.end("delta")
        await made.end("alpha")  # epsilon counts: three of four are a quorum
        await keep(epsilon, "last", "kept")
        status = epsilon.status()["state"]["consensus"]
        assert status["voters"] == ["alpha", "beta", "epsilon", "gamma"]
        assert (status["epoch"], status["role"] in ("leader", "voter")) == (3, True)
        with trio.fail_after(30):
            kept = await made.flows["gamma"].state.list_patterns("shared")
        found = {one.key for one in kept.patterns}
        assert found == {"before", "after add", "after promote", "last"}
