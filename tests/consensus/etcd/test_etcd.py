"""`etcd`, on a real one."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from flowcore.testing import Trial, check_plugin
from support.etcds import Etcds, open_etcds


@pytest.fixture(scope="module")
def etcd() -> Generator[Etcds]:
    with open_etcds(1, "--unsafe-no-fsync") as one:
        yield one


async def test_holds_to_its_interface(etcd: Etcds) -> None:
    trial = Trial(
        settings={"endpoints": list(etcd.urls), "patience": "20s"},
        own=lambda number: {"prefix": f"kit/{number}/"},
        within=60,
    )
    report = await check_plugin("flow_consensus.etcd", {"etcd": trial})
    assert len(report.checked["consensus etcd"]) > 12
