"""A world for engines: virtual time, a network, disks and clocks that fail, all of it from one seed.

world = World(seed=7)
for name in "abc":
    world.add(name, lambda host: Counter(host))
nemesis = Nemesis(world, list("abc"))
world.checks.append(nothing_is_wrong)
world.run(until=60.0)
nemesis.stop()
world.run(until=70.0)
"""

from flowcore.testing.world.disk import Disk
from flowcore.testing.world.journal import Journal, corrupt_record
from flowcore.testing.world.links import (
    Latency,
    Link,
    Links,
    constant,
    long_tail,
    normal,
    uniform,
)
from flowcore.testing.world.nemesis import Faults, Nemesis
from flowcore.testing.world.node import Clock, Host, Node, Process
from flowcore.testing.world.timeline import Timeline
from flowcore.testing.world.world import World

__all__ = [
    "Clock",
    "Disk",
    "Faults",
    "Host",
    "Journal",
    "Latency",
    "Link",
    "Links",
    "Nemesis",
    "Node",
    "Process",
    "Timeline",
    "World",
    "constant",
    "corrupt_record",
    "long_tail",
    "normal",
    "uniform",
]
