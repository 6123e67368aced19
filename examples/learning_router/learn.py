"""A router learns what the people of a house mean, and knows it still after a restart.

None of what they say has a word in common with what the tools say of themselves.
"""

from __future__ import annotations

import pathlib
import sys
import tempfile

import trio

import flowcore

HERE = pathlib.Path(__file__).parent
LEARNED = {
    "my feet are like ice": "house.heating",
    "it is freezing in here": "house.heating",
    "I can't see my own hand": "house.lights",
    "it is gloomy, I want to read": "house.lights",
    "the sun blinds me": "house.shutters",
    "people look in from outside": "house.shutters",
    "the tomatoes look thirsty": "house.watering",
    "it has not rained for a week": "house.watering",
    "did I leave it open for burglars": "house.door",
    "somebody is knocking": "house.door",
    "I feel like dancing": "house.music",
    "put on some jazz": "house.music",
}
ASKED = {
    "it is so freezing, my feet are ice": "house.heating",
    "so gloomy that I can't see": "house.lights",
    "the sun is blinding me again": "house.shutters",
    "are my tomatoes thirsty": "house.watering",
    "who is knocking there": "house.door",
    "jazz, for dancing": "house.music",
}


async def right(flow: flowcore.Flow) -> int:
    """How many of the questions find their tool; says what is found."""
    found = 0
    for text, expected in ASKED.items():
        route = await flow.route(text, k=1)
        first = route.ranked[0]
        known = "" if route.in_scope else "  (a guess)"
        mark = "right" if first.expert == expected else "wrong"
        print(f"  {mark}  {first.probability:.2f}  {first.expert:15} {text}{known}")
        found += first.expert == expected
    return found


async def main(data: str) -> None:
    """Ask, teach, ask again, restart, and ask once more."""
    overrides = [f"node.data_dir={data}"]
    async with flowcore.open_flow(HERE / "flow.toml", overrides=overrides) as flow:
        await flow.wait_settled()
        print("from descriptions alone:")
        before = await right(flow)
        for text, tool in LEARNED.items():
            route = await flow.route(text)
            await flow.feedback(route.id, tool)
        print(f"after {len(LEARNED)} lessons:")
        after = await right(flow)
    async with flowcore.open_flow(HERE / "flow.toml", overrides=overrides) as flow:
        await flow.wait_settled()
        print("after a restart:")
        again = await right(flow)
    print(
        f"{before} of {len(ASKED)} were right at first, {after} after learning, {again} after a restart"
    )
    if not before < after == again:
        sys.exit("it should have learned")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, folder)
