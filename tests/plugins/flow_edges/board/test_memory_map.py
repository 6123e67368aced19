"""Memory as a map: the plane is that of the greatest differences, and what cannot be drawn is told."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import trio

from flow_edges.api.memory_map import POINTS, principal_axes
from flowcore import open_flow
from flowcore.http import open_client


@pytest.mark.parametrize("shape", [(40, 12), (9, 64), (2, 5), (64, 64)])
def test_the_axes_are_those_of_the_singular_values(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(7).normal(size=shape)
    centred = matrix - matrix.mean(axis=0)
    axes, sums = principal_axes(centred)
    _, values, rows = np.linalg.svd(centred, full_matrices=False)
    assert np.allclose(sums, (values**2)[:2], atol=1e-9)
    for axis, row, value in zip(axes, rows[:2], values[:2], strict=True):
        if value > 1e-6:
            assert np.isclose(abs(axis @ row), 1.0)
            assert axis[np.abs(axis).argmax()] > 0


@pytest.mark.parametrize("count", [1, 3])
def test_patterns_that_are_all_alike_lie_on_one_point(count: int) -> None:
    axes, sums = principal_axes(np.zeros((count, 8)))
    assert not axes.any()
    assert not sums.any()


async def test_the_latest_of_a_namespace_are_drawn_and_wrong_questions_refused() -> None:
    made: dict[str, Any] = {
        "router": {},
        "storage": {"type": "memory"},
        "edge": {"api": {"type": "api", "bind": "127.0.0.1:0"}},
    }
    async with open_flow(made) as flow, open_client() as client:
        await flow.wait_settled()

        async def drawn(**body: Any) -> Any:
            answer = await client.request(
                "POST", flow.endpoints["api"][0] + "/memory/map", body=json.dumps(body).encode()
            )
            return answer.status, json.loads(answer.body)

        with trio.fail_after(30):
            status, empty = await drawn(namespace="nothing", text="where?")
            assert (status, empty["points"], empty["asked"]) == (200, [], [0.0, 0.0])
            for number in range(4):
                text = f"saying number {number}"
                await flow.call("memory.put", {"text": text, "key": str(number)})
            status, told = await drawn(most=3, text="saying number 2")
            assert status == 200
            assert [one["key"] for one in told["points"]] == ["3", "2", "1"]
            assert (told["count"], told["foreign"]) == (4, 0)
            assert told["namespaces"]["shared"] == 4
            assert 0.99 < sum(told["shares"]) <= 1.001  # three points are in one plane
            two = next(one for one in told["points"] if one["key"] == "2")
            assert np.allclose([two["x"], two["y"]], told["asked"], atol=1e-4)
            for wrong in ({"most": 0}, {"most": POINTS + 1}, {"most": "x"}, {"nonsense": 1}):
                assert (await drawn(**wrong))[0] == 400
            assert (await drawn(text="x" * 1_000_000))[0] in (400, 413)
