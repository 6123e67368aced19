"""What a swarm of 64 goes through, seed by seed, and what must hold whatever happens.

`make simulate-swim SEEDS=1000`, or `python -m benchmarks.gossip_campaign --seeds 1000 [--first 0]`: prints
what was measured, and every broken promise with its seed; 1 if there is one.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import pathlib
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean

import attrs
import msgspec

from benchmarks.gossip_simulation import NEAR, Seen, Simulation
from benchmarks.report import commit
from flow_membership.swim.settings import PROFILES
from flowcore.swarm import MemberState
from flowcore.testing import Link

NODES = 64
LOSS = 0.1
IDLE = 2.0
PERIOD = PROFILES["local"].probe_interval
DEADLINE = 4 * PROFILES["local"].least_timeout
"""Seconds from the beginning of a probe to its failure, where answers are quick."""
PAIRED = 10
"""Each so manieth seed is run again with slow members, with Lifeguard and without."""
SLOW, BLOCK, BLOCKED_EACH, SLOW_FOR = 4, 3.0, 5.0, 20.0
"""Members that are slow, for how long at a time, how often, and for how long in all (seconds)."""
_ALIVE, _SUSPECT, _DEAD, _LEFT = (
    MemberState.ALIVE,
    MemberState.SUSPECT,
    MemberState.DEAD,
    MemberState.LEFT,
)


@attrs.define(kw_only=True)
class Slow:
    """What was wrongly believed of members that were quick, while others were slow: pairs of (subject,
    incarnation), and how many members believed it."""

    suspected: int = 0
    dead: int = 0
    dead_for_quick: int = 0
    """Held for dead by a member that was quick itself."""
    events: int = 0
    """Each member that held one for dead counts."""


@attrs.define(kw_only=True)
class Run:
    """One seed."""

    seed: int
    broken: list[str] = attrs.field(factory=list)
    first_suspected: float = -1.0
    """Seconds from a crash until anybody suspected it, until anybody held it for dead, until all did."""
    first_dead: float = -1.0
    last_dead: float = -1.0
    rejoined: float = -1.0
    """Seconds from a restart until all held it for alive."""
    healed: float = -1.0
    """Seconds from the end of a partition until all believed what was true."""
    false_suspicions: int = 0
    """Of members that lived and could be reached, in the whole time but the partition: subjects."""
    false_deaths: int = 0
    node_seconds: float = 0.0
    idle_bytes: float = 0.0
    """Bytes a second of each node, while nothing happened but loss."""
    datagrams: float = 0.0
    lifeguard: Slow | None = None
    plain: Slow | None = None
    took: float = 0.0


def run_seed(seed: int) -> Run:
    """A crash, a restart, a farewell, cuts one way, stops, a partition: and what came of it."""
    began = time.process_time()
    run = Run(seed=seed)
    # of one seed alone that it cannot hear, who comes back learns nothing: so there are some, as in any swarm
    sim = Simulation(NODES, seed, link=Link(latency=NEAR, loss=LOSS), seeds=3)
    chance = sim.chance
    names = list(sim.nodes)
    sim.start_acquainted()
    sim.run(1)

    before, packets = sum(sim.bytes.values()), sum(sim.datagrams.values())
    sim.run(IDLE)
    run.idle_bytes = (sum(sim.bytes.values()) - before) / NODES / IDLE
    run.datagrams = (sum(sim.datagrams.values()) - packets) / NODES / IDLE

    # from here some cannot hear some others, which nobody should suffer for
    for _ in range(10):
        one, other = chance.sample(names, 2)
        sim.cut({one}, {other}, both_ways=False)

    lost = chance.choice(names)
    crashed = sim.now
    sim.crash(lost)
    sim.run_until(lambda: _all_say(sim, lost, _DEAD), most=10)
    told = [one for one in sim.seen if one.member.name == lost and one.at >= crashed]
    suspected = [one.at - crashed for one in told if one.member.state is _SUSPECT]
    dead = {one.by: one.at - crashed for one in told if one.member.state is _DEAD}
    if len(dead) < NODES - 1:
        run.broken.append(f"{NODES - 1 - len(dead)} members do not know that {lost} is dead")
    else:
        run.first_suspected, run.first_dead = min(suspected), min(dead.values())
        run.last_dead = max(dead.values())
        if run.last_dead > 5:
            run.broken.append(f"{lost} is dead for all only after {run.last_dead:.2f} s")

    sim.start(lost)
    run.rejoined = sim.run_until(lambda: _all_say(sim, lost, _ALIVE), most=15)
    if run.rejoined < 0:
        run.broken.append(f"{lost} is back, and not alive for all after 15 s")

    gone = chance.choice([name for name in names if name != lost])
    left = sim.now
    sim.leave(gone)
    # a stop of a second is nothing to be dead for
    stopped = chance.sample([name for name in names if name != gone], 3)
    for name in stopped:
        sim.after(chance.uniform(0, 1), lambda name=name: sim.pause(name, 1.0))  # type: ignore[misc]
    sim.run(3)
    after_leave = [
        one for one in sim.seen if one.member.name == gone and one.by != gone and one.at >= left
    ]
    wrong = [one for one in after_leave if one.member.state in (_SUSPECT, _DEAD)]
    if wrong:
        run.broken.append(f"{gone} has left, and was told to be {wrong[0].member.state.value}")
    if not _all_say(sim, gone, _LEFT):
        run.broken.append(f"{gone} has left, and not all know it")

    absent = {lost: (crashed, crashed + run.last_dead + 5), gone: (left, math.inf)}
    _count_wrong(run, sim.seen, absent, dict.fromkeys(stopped, left))
    run.node_seconds = NODES * (sim.now - 1000.0)

    sim.heal()
    live = [node.name for node in sim.live()]
    chance.shuffle(live)
    at = chance.randint(1, len(live) // 2)
    sim.cut(set(live[:at]), set(live[at:]))
    sim.run(7)
    sim.heal()
    run.healed = sim.run_until(sim.agreed, most=30)
    if run.healed < 0:
        run.broken.append(f"30 s after a partition of {at} and {len(live) - at} not all agree")
    sim.seen.clear()
    sim.run(2)
    if not sim.agreed() and not sim.run_until(sim.agreed, most=5) >= 0:
        run.broken.append("they agreed, and do not any more")
    if any(one.member.state is _DEAD for one in sim.seen):
        run.broken.append("after all agreed somebody was held for dead")
    _check_incarnations(run, sim)

    if seed % PAIRED == 0:
        run.lifeguard, run.plain = slow_members(seed), slow_members(seed, lifeguard=False)
    run.took = time.process_time() - began
    return run


def _all_say(sim: Simulation, of: str, state: MemberState) -> bool:
    for node in sim.live():
        if node.name == of:
            continue
        assert node.swim is not None
        known = node.swim.beliefs.known.get(of)
        if known is None or known.state is not state:
            return False
    return True


def _count_wrong(
    run: Run,
    seen: Sequence[Seen],
    absent: Mapping[str, tuple[float, float]],
    stopped: Mapping[str, float],
) -> None:
    """Suspicions and deaths of who was there; `absent` says who was not, from when to when, and `stopped` who
    did not answer for a moment, from when: it may be suspected, and must not be dead."""
    wrong: dict[MemberState, set[tuple[str, int]]] = {_SUSPECT: set(), _DEAD: set()}
    for one in seen:
        name, state = one.member.name, one.member.state
        begin, end = absent.get(name, (math.inf, math.inf))
        if state is _SUSPECT and one.at >= stopped.get(name, math.inf):
            continue
        if state in wrong and not begin <= one.at <= end:
            wrong[state].add((name, one.member.incarnation))
    run.false_suspicions, run.false_deaths = len(wrong[_SUSPECT]), len(wrong[_DEAD])
    if run.false_deaths:
        run.broken.append(f"{sorted(wrong[_DEAD])[0][0]} was held for dead, and lived")


def _check_incarnations(run: Run, sim: Simulation) -> None:
    """What anybody believes is never above what its subject has claimed."""
    for node in sim.live():
        assert node.swim is not None
        for known in node.swim.beliefs.present():
            subject = sim.nodes[known.name].swim
            if subject is None or known.incarnation > subject.incarnation:
                run.broken.append(f"{node.name} has an incarnation of {known.name} from nowhere")
            elif known.incarnation > sim.nodes[known.name].reserved:
                run.broken.append(f"{known.name} has claimed more than is on its disk")


def slow_members(seed: int, *, lifeguard: bool = True) -> Slow:
    """Four members whose messages are held up again and again, and what was believed of the others."""
    sim = Simulation(NODES, seed, lifeguard=lifeguard)
    sim.start_acquainted()
    slow = set(sim.chance.sample(list(sim.nodes), SLOW))
    for name in sorted(slow):  # the order of a set is another one in each process
        at = sim.chance.uniform(0, BLOCKED_EACH)
        while at < SLOW_FOR:
            sim.after(at, lambda name=name: sim.block(name, BLOCK))  # type: ignore[misc]
            at += BLOCKED_EACH
    sim.run(SLOW_FOR)
    wrong = [one for one in sim.seen if one.member.name not in slow]
    dead = [one for one in wrong if one.member.state is _DEAD]

    def subjects(seen: Sequence[Seen]) -> int:
        return len({(one.member.name, one.member.incarnation) for one in seen})

    return Slow(
        suspected=subjects([one for one in wrong if one.member.state is _SUSPECT]),
        dead=subjects(dead),
        dead_for_quick=subjects([one for one in dead if one.by not in slow]),
        events=len(dead),
    )


# ---- all of them


def campaign(
    seeds: int, first: int = 0, *, processes: int | None = None, keep: pathlib.Path | None = None
) -> list[Run]:
    """Every seed, on all cores. What `keep` has from the same commit is not run again; the rest is added."""
    version = commit()
    wanted = set(range(first, first + seeds))
    runs = [one for one in _kept(keep, version) if one.seed in wanted]
    wanted -= {one.seed for one in runs}
    with multiprocessing.Pool(processes) as pool:
        for run in pool.imap_unordered(run_seed, sorted(wanted), chunksize=2):
            runs.append(run)
            if keep is not None:
                with keep.open("ab") as file:
                    file.write(msgspec.json.encode((version, run)) + b"\n")
    return sorted(runs, key=lambda run: run.seed)


def _kept(keep: pathlib.Path | None, version: str) -> list[Run]:
    if keep is None or not keep.exists():
        return []
    lines = [
        msgspec.json.decode(line, type=tuple[str, Run]) for line in keep.read_bytes().splitlines()
    ]
    return [run for of, run in lines if of == version]


def quantile(values: Sequence[float], share: float) -> float:
    """Of those that could be measured."""
    known = sorted(value for value in values if value >= 0)
    return known[min(len(known) - 1, int(share * len(known)))] if known else math.nan


def told(runs: Sequence[Run]) -> str:
    """What came of it, for a person."""
    lines = [
        f"{len(runs)} seeds, {NODES} members, {LOSS:.0%} loss, {sum(one.took for one in runs):.0f} s of CPU"
    ]
    for what, values in (
        ("first suspected", [one.first_suspected for one in runs]),
        ("first held for dead", [one.first_dead for one in runs]),
        ("dead for all", [one.last_dead for one in runs]),
        ("alive for all after a restart", [one.rejoined for one in runs]),
        ("agreed after a partition", [one.healed for one in runs]),
    ):
        lines.append(
            f"{what}: p50 {quantile(values, 0.5):.2f} s, p99 {quantile(values, 0.99):.2f} s,"
            f" most {quantile(values, 1):.2f} s"
        )
    hours = sum(one.node_seconds for one in runs) / 3600
    lines += [
        f"false suspicions: {sum(one.false_suspicions for one in runs)} in {hours:.0f} hours of a node",
        f"false deaths: {sum(one.false_deaths for one in runs)}",
        f"bytes a second of a node: {mean(one.idle_bytes for one in runs):.0f},"
        f" datagrams {mean(one.datagrams for one in runs):.1f}",
    ]
    for name, slow in (
        ("with Lifeguard", [one.lifeguard for one in runs if one.lifeguard is not None]),
        ("without", [one.plain for one in runs if one.plain is not None]),
    ):
        if slow:
            lines.append(
                f"{SLOW} slow members, {name}: {mean(one.suspected for one in slow):.1f} quick ones"
                f" suspected, {mean(one.dead for one in slow):.2f} held for dead by anybody,"
                f" {mean(one.dead_for_quick for one in slow):.3f} by a quick one"
            )
    broken = Counter(why.partition(",")[0][:60] for one in runs for why in one.broken)
    lines.append(f"broken promises: {sum(broken.values())}")
    lines += [f"  seed {one.seed}: {why}" for one in runs for why in one.broken][:50]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and tell; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(prog="benchmarks.gossip_campaign")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=None)
    parser.add_argument("--keep", type=pathlib.Path, help="a file for what came of each seed")
    given = parser.parse_args(arguments)
    runs = campaign(given.seeds, given.first, processes=given.processes, keep=given.keep)
    print(told(runs))
    return 1 if any(one.broken for one in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
