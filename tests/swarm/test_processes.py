"""Real processes that are a swarm: killed, stopped, restarted one by one, under load."""

from __future__ import annotations

import pathlib
import signal
import threading

import pytest

from support.cluster import Cluster, Refused, cluster

NAMES = ("alpha", "beta", "gamma")
FIVE = ("alpha", "beta", "delta", "epsilon", "gamma")


class Load:
    """Calls without end, each tried once more at another node if it fails."""

    def __init__(self, nodes: Cluster, names: tuple[str, ...], tool: str) -> None:
        self._nodes = nodes
        self._names = names
        self._tool = tool
        self._stop = threading.Event()
        self.done = 0
        self.lost: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(4)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, number: int) -> None:
        turn = number
        while not self._stop.is_set():
            turn += 1
            why = []
            for attempt in range(2):
                name = self._names[(turn + attempt) % len(self._names)]
                try:
                    result = self._nodes.call(name, self._tool, text=str(turn))
                except (OSError, Refused) as error:
                    why.append(f"{name}: {error!r}")
                else:
                    assert result["content"][0]["text"] == str(turn)
                    self.done += 1
                    break
            else:
                self.lost.append("; ".join(why))

    def more(self, count: int) -> None:
        """Wait for so many more that are done."""
        wanted = self.done + count
        self._nodes.until(lambda: self.done >= wanted)


def test_a_restart_of_all_nodes_one_by_one_loses_no_request(tmp_path: pathlib.Path) -> None:
    with cluster(tmp_path, *NAMES) as nodes, Load(nodes, NAMES, "shared.echo") as load:
        load.more(50)
        for name in NAMES:
            assert nodes.end(name) == 0
            others = tuple(one for one in NAMES if one != name)
            for other in others:
                nodes.until(lambda other=other, name=name: nodes.members(other)[name] == "left")  # type: ignore[misc]
            load.more(20)
            nodes.start(name)
            nodes.complete(*NAMES)
            load.more(20)
    assert load.lost == []
    assert load.done > 150


@pytest.mark.parametrize(
    "topology",
    [
        "star",
        *(pytest.param(one, marks=pytest.mark.long) for one in ("mesh", "ring", "hierarchical")),
    ],
)
def test_the_first_node_may_be_killed_in_every_topology(
    tmp_path: pathlib.Path, topology: str
) -> None:
    """The first by name: the hub of a star, the root of a hierarchy."""
    with cluster(tmp_path, *FIVE, topology=topology) as nodes:
        nodes.end("alpha", signal.SIGKILL)
        left = FIVE[1:]
        for name in left:
            nodes.until(lambda name=name: nodes.members(name)["alpha"] == "dead")  # type: ignore[misc]
        for name in left:
            for other in left:
                tool = f"of-{other}.echo"

                def served(name: str = name, tool: str = tool) -> bool:
                    try:
                        return bool(nodes.call(name, tool, text="x")["content"][0]["text"] == "x")
                    except Refused:
                        return False

                nodes.until(served)
            with pytest.raises(Refused, match="is dead"):
                nodes.call(name, "of-alpha.echo", text="x")
        nodes.start("alpha")
        nodes.complete(*FIVE)


def test_a_node_that_is_stopped_for_a_while_is_missed_and_comes_back(
    tmp_path: pathlib.Path,
) -> None:
    with cluster(tmp_path, *NAMES) as nodes:
        nodes.send("beta", signal.SIGSTOP)
        for name in ("alpha", "gamma"):
            nodes.until(lambda name=name: nodes.members(name)["beta"] == "dead")  # type: ignore[misc]
        assert nodes.call("alpha", "shared.echo", text="x")["content"][0]["text"] == "x"
        nodes.send("beta", signal.SIGCONT)
        nodes.complete(*NAMES)
        for name in NAMES:
            nodes.until(
                lambda name=name: set(nodes.members(name).values()) == {"alive"}  # type: ignore[misc]
            )
