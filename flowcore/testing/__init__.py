"""What authors of plugins test with: whether a plugin holds to its interface, and worlds that fail.

    async def test_my_plugin() -> None:
        await check_plugin(my_plugin)

`World` is for engines without tasks, `Wires` for code that runs on trio, `Neighbours` for what uses the links
of a swarm. All three have the same `Links` between their nodes, and are described in docs/simulation.md.
"""

from flowcore.testing.check import check_plugin
from flowcore.testing.findings import CheckFailed, Report, Wrong
from flowcore.testing.histories import History, Line, operations_of, read_history, write_history
from flowcore.testing.linearizability import (
    Model,
    Operation,
    Register,
    Undecided,
    Verdict,
    check_linearizable,
)
from flowcore.testing.neighbours import NeighbourLinks, Neighbours
from flowcore.testing.trial import Trial
from flowcore.testing.wires import WireDatagrams, WireListener, Wires, WireStream
from flowcore.testing.world import (
    Clock,
    Disk,
    Faults,
    Host,
    Journal,
    Latency,
    Link,
    Links,
    Nemesis,
    Node,
    Process,
    Timeline,
    World,
    constant,
    corrupt_record,
    long_tail,
    normal,
    uniform,
)

__all__ = [
    "CheckFailed",
    "Clock",
    "Disk",
    "Faults",
    "History",
    "Host",
    "Journal",
    "Latency",
    "Line",
    "Link",
    "Links",
    "Model",
    "NeighbourLinks",
    "Neighbours",
    "Nemesis",
    "Node",
    "Operation",
    "Process",
    "Register",
    "Report",
    "Timeline",
    "Trial",
    "Undecided",
    "Verdict",
    "WireDatagrams",
    "WireListener",
    "WireStream",
    "Wires",
    "World",
    "Wrong",
    "check_linearizable",
    "check_plugin",
    "constant",
    "corrupt_record",
    "long_tail",
    "normal",
    "operations_of",
    "read_history",
    "uniform",
    "write_history",
]
