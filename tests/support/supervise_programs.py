"""Programs of supervision, as data: made from a seed, run on flowcore here and on OTP by `oracle.erl`.

The log of a run: `+a` a started, `xa` its start failed, `!a` it crashed, `.a` it ended normally, `-a` it was
stopped; `stop a=ok` what was asked and answered; `end` the tree was stopped at the end, `down` it had given
up, `failed` it did not start.
"""

from __future__ import annotations

import random
from typing import Any

import attrs
import trio

from flowcore.supervise import (
    Child,
    GaveUp,
    Phase,
    Restart,
    StartFailed,
    Strategy,
    Supervisor,
    open_supervisor,
)

FOREVER = 3600.0


@attrs.frozen
class Worker:
    """A leaf: the starts (counted from 0) that fail are listed."""

    name: str
    restart: Restart
    fails: tuple[int, ...]

    def term(self) -> str:
        """As an Erlang term."""
        fails = ",".join(map(str, self.fails))
        return f"{{worker,{self.name},{self.restart.value},[{fails}]}}"


@attrs.frozen
class Branch:
    """A supervisor with its children."""

    name: str
    strategy: Strategy
    intensity: int
    restart: Restart
    children: tuple[Worker | Branch, ...]

    def term(self) -> str:
        """As an Erlang term."""
        children = ",".join(one.term() for one in self.children)
        head = (
            f"{self.name},{self.strategy.value},{self.intensity},{FOREVER:.0f},{self.restart.value}"
        )
        return f"{{sup,{head},[{children}]}}"


Step = tuple[str, ...]


@attrs.frozen
class Program:
    """A tree and what is done to it."""

    tree: Branch
    script: tuple[Step, ...]

    def term(self) -> str:
        """As a line for the oracle."""
        steps = ",".join("{" + ",".join(step) + "}" for step in self.script)
        return f"{{{self.tree.term()},[{steps}]}}."


def make_program(seed: int) -> Program:
    """The program of a seed: up to three levels, up to a dozen workers, up to a dozen steps."""
    chance = random.Random(seed)
    names = iter(f"n{number}" for number in range(1000))
    workers: list[str] = []
    places: list[tuple[str, str]] = []

    def restart() -> Restart:
        return chance.choice(
            [Restart.PERMANENT, Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY]
        )

    def branch(depth: int) -> Branch:
        name = next(names)
        children: list[Worker | Branch] = []
        for _ in range(chance.randint(1, 4)):
            if depth < 2 and chance.random() < 0.25:
                child: Worker | Branch = branch(depth + 1)
            else:
                fails = [n for n in range(6) if chance.random() < (0.02 if n == 0 else 0.12)]
                child = Worker(next(names), restart(), tuple(fails))
                workers.append(child.name)
            places.append((name, child.name))
            children.append(child)
        strategy = chance.choice(list(Strategy))
        return Branch(name, strategy, chance.choice([0, 1, 2, 3, 5]), restart(), tuple(children))

    tree = branch(0)
    script: list[Step] = []
    for _ in range(chance.randint(1, 12)):
        if workers and chance.random() < 0.6:
            script.append((chance.choice(["kill", "kill", "finish"]), chance.choice(workers)))
        else:
            sup, child_name = chance.choice(places)
            script.append((chance.choice(["stop", "restart", "delete"]), sup, child_name))
    return Program(tree, tuple(script))


class Runner:
    """Runs one program on flowcore."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.starts: dict[str, int] = {}
        self.controls: dict[str, trio.MemorySendChannel[str]] = {}
        self.supervisors: dict[str, Supervisor] = {}

    def child(self, tree: Worker | Branch) -> Child:
        """The child of a tree."""
        if isinstance(tree, Worker):
            return Child(name=tree.name, run=self._worker(tree), restart=tree.restart)
        return Child(
            name=tree.name, run=self._branch(tree), restart=tree.restart, shutdown=float("inf")
        )

    def _branch(self, tree: Branch) -> Any:
        async def run(stop: trio.Event, *, task_status: trio.TaskStatus[Any]) -> None:
            async with self.open(tree) as supervisor:
                task_status.started(supervisor)
                await stop.wait()

        return run

    def open(self, tree: Branch) -> Any:
        """The supervisor of a tree; known by name from the moment it begins to start its children."""
        return _Opened(self, tree)

    def _worker(self, tree: Worker) -> Any:
        async def run(stop: trio.Event, *, task_status: trio.TaskStatus[Any]) -> None:
            number = self.starts[tree.name] = self.starts.get(tree.name, -1) + 1
            if number in tree.fails:
                self.log.append(f"x{tree.name}")
                raise ValueError("this start fails")
            self.log.append(f"+{tree.name}")
            send, receive = trio.open_memory_channel[str](1)
            self.controls[tree.name] = send
            task_status.started()
            told: list[str] = []
            try:
                async with trio.open_nursery() as nursery:

                    async def until_told() -> None:
                        told.append(await receive.receive())
                        nursery.cancel_scope.cancel()

                    nursery.start_soon(until_told)
                    await stop.wait()
                    nursery.cancel_scope.cancel()
            finally:
                self.controls.pop(tree.name, None)
            if not told:
                self.log.append(f"-{tree.name}")
            elif told == ["finish"]:
                self.log.append(f".{tree.name}")
            else:
                self.log.append(f"!{tree.name}")
                raise RuntimeError("told to crash")

        return run

    async def run(self, program: Program) -> str:
        """The log of the program."""
        try:
            async with self.open(program.tree):
                for step in program.script:
                    await self._step(step)
                    await trio.testing.wait_all_tasks_blocked()
            self.log.append("end")
        except GaveUp:
            self.down(program)
        except StartFailed:
            self.log.append("failed")
        return " ".join(self.log)

    def down(self, program: Program) -> None:
        """The tree gave up: what was still to be done to it finds nobody."""
        done = self.steps_done
        for step in program.script[done:]:
            if len(step) == 2:
                self.log.append(f"none {step[1]}")
            else:
                self.log.append(f"{step[0]} {step[2]}=nobody")
        self.log.append("down")

    steps_done = 0

    async def _step(self, step: Step) -> None:
        self.steps_done += 1
        if len(step) == 2:
            verb, name = step
            if name in self.controls:
                self.controls[name].send_nowait(verb)
            else:
                self.log.append(f"none {name}")
            return
        verb, sup, name = step
        supervisor = self.supervisors.get(sup)
        if supervisor is None:
            answer = "nobody"
        else:
            answer = await self._ask(supervisor, verb, name)
        self.log.append(f"{verb} {name}={answer}")

    async def _ask(self, supervisor: Supervisor, verb: str, name: str) -> str:
        calls: dict[str, Any] = {
            "stop": supervisor.stop_child,
            "restart": supervisor.restart_child,
            "delete": supervisor.delete_child,
        }
        phases = {one.name: one.phase for one in supervisor.children()}
        try:
            await calls[verb](name)
        except KeyError:
            return "not_found"
        except StartFailed:
            return "failed"
        except ValueError:
            return "restarting" if phases[name] is Phase.RESTARTING else "running"
        return "ok"


class _Opened:
    """`open_supervisor`, noting the supervisor by name while it lives."""

    def __init__(self, runner: Runner, tree: Branch) -> None:
        self._runner = runner
        self._tree = tree
        self._context = open_supervisor(
            tree.name,
            [runner.child(one) for one in tree.children],
            strategy=tree.strategy,
            intensity=tree.intensity,
            period=FOREVER,
        )

    async def __aenter__(self) -> Supervisor:
        supervisor = await self._context.__aenter__()
        self._runner.supervisors[self._tree.name] = supervisor
        return supervisor

    async def __aexit__(self, *details: Any) -> bool | None:
        self._runner.supervisors.pop(self._tree.name, None)
        return await self._context.__aexit__(*details)


def run_here(program: Program) -> str:
    """The log of a program on flowcore, on a mock clock."""

    async def main() -> str:
        return await Runner().run(program)

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
