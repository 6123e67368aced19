"""The plugin's own tests: what every balancer must hold, and what this one is for."""

from __future__ import annotations

import flowcore_sticky

from flowcore.interfaces import Load
from flowcore.testing import Trial, check_plugin


async def test_it_holds_what_every_balancer_must() -> None:
    report = await check_plugin(flowcore_sticky, {"sticky": Trial(settings={"calls": 3})})
    assert list(report.checked) == ["balancer sticky"]


def test_it_stays_for_as_many_calls_as_it_is_told() -> None:
    balancer = flowcore_sticky.Sticky(calls=2)
    loads = [Load(1), Load(2, active=1)]
    assert [balancer.pick(loads, None, 0.0) for _ in range(2)] == [0, 0]
    loads[0].active = 2
    assert balancer.pick(loads, None, 0.0) == 1
