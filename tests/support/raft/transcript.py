"""Transcripts: commands after `> `, what came of each below it, up to an empty line.

    > nodes a b c              three voters; also pre_vote=no check_quorum=no election=10 heartbeat=3 ...
    > node d                   one that knows nobody
    > campaign a [force]       | tick a 15 | tick * 15 | propose a x y | read a r1 [leased]
    > transfer a b             | change a voters=d learners=e remove=c joint=yes auto=no | leave a
    > deliver a->b [2]         the next (two) messages of a link; without a number, all there are
    > drop a->b [2] | drop a->*   | duplicate a->b | swap a->b: the next two change places
    > cut a->b | cut a-b | cut a   one way, both ways, from everybody; heal: all of them
    > pass 30                  a tick for everybody, then stabilise, so often
    > stabilise [a b]          deliver everything (between these), until nothing is under way
    > slow a | persist a | fast a   writes of a wait; one is done; they do not wait any more
    > crash a | restart a | fail a   fail: its disk gives an error
    > resign a | recover a     it leads no more for a while
    > snapshot a | compact a 5 | unreachable a b | refuse_snapshot a b
    > log a | status [a] | state a | refused a
    > say x->a Append term=2 previous=5 previous_term=1 entries=6/1:x,7/1:y commit=0     a forged message

A line `# ...` is for the reader. `quiet` before a command leaves its lines out.
"""

from __future__ import annotations

import pathlib
from collections import deque
from collections.abc import Callable

from flow_consensus.raft import Change, EngineSettings, Membership, Message, Refused, messages
from flow_consensus.raft.entries import command_data
from flowcore.state import LogEntry
from support.raft.cluster import Cluster, Disk
from support.raft.words import entry_words, hard_state_words, membership_words, message_words

SETTINGS = {
    "election": "election_ticks",
    "heartbeat": "heartbeat_ticks",
    "batch": "batch_entries",
    "memory": "memory_bytes",
    "uncommitted": "uncommitted_bytes",
    "window": "window",
    "lag": "promote_lag",
    "margin": "lease_margin",
    "reads": "reads",
}


def named(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """Words, and those with a `=`."""
    plain = [one for one in words if "=" not in one]
    pairs = [one.partition("=") for one in words if "=" in one]
    return plain, {key: value for key, _, value in pairs}


def names(text: str) -> frozenset[str]:
    return frozenset(text.split(",")) if text else frozenset()


class Transcript:
    """One file's commands, run one after the other."""

    def __init__(self) -> None:
        self.cluster = Cluster(EngineSettings())
        self.commands: dict[str, Callable[[list[str]], None]] = {
            name.removeprefix("do_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("do_")
        }

    def run(self, command: str) -> list[str]:
        """What came of one command."""
        cluster = self.cluster
        words = command.split()
        cluster.lines = []
        if words[0] == "quiet":
            cluster.quiet = True
            words = words[1:]
        try:
            self.commands[words[0]](words[1:])
            cluster.settle()
        except Refused as refused:
            busy = ", busy" * refused.busy
            hint = f", {refused.leader} leads" * bool(refused.leader)
            cluster.say(f"refused: {refused}{hint}{busy}")
        cluster.quiet = False
        return cluster.lines or ["ok"]

    # ---- nodes

    def do_nodes(self, words: list[str]) -> None:
        voters, options = named(words)
        changes: dict[str, object] = {
            SETTINGS[key]: int(value) for key, value in options.items() if key in SETTINGS
        }
        changes |= {
            key: value == "yes"
            for key, value in options.items()
            if key in ("pre_vote", "check_quorum")
        }
        self.cluster = Cluster(EngineSettings(**changes))  # type: ignore[arg-type]
        self.cluster.quiet = True
        for name in voters:
            self.cluster.start(name, Disk(), tuple(voters))
        self.cluster.settle()
        self.cluster.quiet = False

    def do_node(self, words: list[str]) -> None:
        self.cluster.start(words[0], Disk())

    def do_crash(self, words: list[str]) -> None:
        for name in words:
            self.cluster.crash(name)
            for link, queue in self.cluster.links.items():
                if name == link[1]:
                    queue.clear()

    def do_restart(self, words: list[str]) -> None:
        for name in words:
            self.cluster.start(name, self.cluster.down.pop(name))

    def do_fail(self, words: list[str]) -> None:
        self.cluster.nodes[words[0]].engine.disk_failed("input/output error")

    def do_resign(self, words: list[str]) -> None:
        self.cluster.nodes[words[0]].engine.resign("no room on the disk")

    def do_recover(self, words: list[str]) -> None:
        self.cluster.nodes[words[0]].engine.recover()

    def do_slow(self, words: list[str]) -> None:
        for name in words:
            self.cluster.nodes[name].slow = True

    def do_fast(self, words: list[str]) -> None:
        for name in words:
            self.cluster.nodes[name].slow = False
            if self.cluster.nodes[name].writing is not None:
                self.cluster.persist(name)

    def do_persist(self, words: list[str]) -> None:
        for name in words:
            self.cluster.persist(name)

    # ---- calls

    def do_tick(self, words: list[str]) -> None:
        who = sorted(self.cluster.nodes) if words[0] == "*" else words[0].split(",")
        for _ in range(int(words[1])):
            for name in who:
                self.cluster.nodes[name].engine.tick()
                self.cluster.settle(name)

    def do_pass(self, words: list[str]) -> None:
        for _ in range(int(words[0])):
            for name in sorted(self.cluster.nodes):
                self.cluster.nodes[name].engine.tick()
            self.cluster.stabilise()

    def do_campaign(self, words: list[str]) -> None:
        self.cluster.nodes[words[0]].engine.campaign(force="force" in words)

    def do_propose(self, words: list[str]) -> None:
        first = self.cluster.nodes[words[0]].engine.propose([one.encode() for one in words[1:]])
        self.cluster.say(f"from {first} on")

    def do_read(self, words: list[str]) -> None:
        self.cluster.nodes[words[0]].engine.read_index(words[1], leased="leased" in words)

    def do_transfer(self, words: list[str]) -> None:
        self.cluster.nodes[words[0]].engine.transfer_leadership(words[1])

    def do_change(self, words: list[str]) -> None:
        _, options = named(words)
        change = Change(
            voters=names(options.get("voters", "")),
            learners=names(options.get("learners", "")),
            remove=names(options.get("remove", "")),
            joint={"yes": True, "no": False}.get(options.get("joint", "")),
            auto_leave=options.get("auto") != "no",
        )
        position = self.cluster.nodes[words[0]].engine.change_voters(change)
        self.cluster.say(f"at {position}")

    def do_leave(self, words: list[str]) -> None:
        self.cluster.say(f"at {self.cluster.nodes[words[0]].engine.leave_joint()}")

    def do_snapshot(self, words: list[str]) -> None:
        info = self.cluster.make_snapshot(words[0])
        about = membership_words(Membership.decode(info.about))
        self.cluster.say(f"at {info.position}/{info.term} {about}")

    def do_compact(self, words: list[str]) -> None:
        reached = self.cluster.nodes[words[0]].engine.compact(int(words[1]))
        self.cluster.say(f"to {reached}")

    def do_unreachable(self, words: list[str]) -> None:
        self.cluster.nodes[words[0]].engine.report_unreachable(words[1])

    def do_refuse_snapshot(self, words: list[str]) -> None:
        self.cluster.nodes[words[0]].engine.report_snapshot(words[1], ok=False)

    # ---- the network

    def _link(self, word: str) -> deque[Message]:
        sender, _, to = word.partition("->")
        return self.cluster.links.setdefault((sender, to), deque())

    def do_deliver(self, words: list[str]) -> None:
        queue = self._link(words[0])
        sender, _, to = words[0].partition("->")
        count = int(words[1]) if len(words) > 1 else len(queue)
        for _ in range(count):
            self.cluster.step(sender, to, queue.popleft())

    def do_drop(self, words: list[str]) -> None:
        sender, _, to = words[0].partition("->")
        if to == "*":
            for link, queue in self.cluster.links.items():
                if link[0] == sender:
                    queue.clear()
            return
        queue = self._link(words[0])
        for _ in range(int(words[1]) if len(words) > 1 else len(queue)):
            self.cluster.say(f"lost: {message_words(queue.popleft())}")

    def do_duplicate(self, words: list[str]) -> None:
        queue = self._link(words[0])
        queue.extend(list(queue))

    def do_swap(self, words: list[str]) -> None:
        queue = self._link(words[0])
        queue[0], queue[1] = queue[1], queue[0]

    def do_cut(self, words: list[str]) -> None:
        for word in words:
            if "->" in word:
                sender, _, to = word.partition("->")
                self.cluster.cut.add((sender, to))
            elif "-" in word:
                one, _, other = word.partition("-")
                self.cluster.cut |= {(one, other), (other, one)}
            else:
                for other in (*self.cluster.nodes, *self.cluster.down):
                    self.cluster.cut |= {(word, other), (other, word)}
        for link in self.cluster.cut:
            self.cluster.links.pop(link, None)

    def do_heal(self, words: list[str]) -> None:
        del words
        self.cluster.cut.clear()

    def do_stabilise(self, words: list[str]) -> None:
        self.cluster.stabilise(set(words) or None)

    def do_say(self, words: list[str]) -> None:
        (link, kind), options = named(words)
        sender, _, to = link.partition("->")
        fields: dict[str, object] = {}
        for key, value in options.items():
            if key == "entries":
                fields[key] = [self._entry(one) for one in value.split(",") if one]
            elif key in ("granted", "pre", "force", "rejected", "last_one", "leased"):
                fields["last" if key == "last_one" else key] = value == "yes"
            elif key == "data":
                fields[key] = value.encode()
            elif key == "about":
                fields[key] = Membership(voters=names(value)).encode() if value else b"?"
            else:
                fields[key] = int(value)
        message: Message = getattr(messages, kind)(**fields)
        self.cluster.step(sender, to, message)

    @staticmethod
    def _entry(text: str) -> LogEntry:
        where, _, data = text.partition(":")
        position, _, term = where.partition("/")
        raw = b"" if data == "-" else b"\x07?" if data == "?" else command_data(data.encode())
        return LogEntry(int(position), int(term), raw)

    # ---- to look at

    def do_log(self, words: list[str]) -> None:
        for name in words:
            node = self.cluster.nodes[name]
            log = node.engine.log
            self.cluster.say(
                f"{name}: {log.start + 1} to {log.last}, durable {log.durable}, commit {log.commit}"
            )
            for entry in [*node.disk.read(log.start + 1, log.offset), *log.memory]:
                self.cluster.say(f"  {entry_words(entry)}")

    def do_status(self, words: list[str]) -> None:
        for name in words or sorted(self.cluster.nodes):
            status = self.cluster.nodes[name].engine.status()
            self.cluster.say(
                f"{name}: {status.role} in term {status.term}, vote {status.vote or '-'},"
                f" leader {status.leader or '-'}, last {status.last}, commit {status.commit},"
                f" {membership_words(status.membership)}"
                + f", failed: {status.failed}"
                * bool(status.failed)
            )
            for follower, one in status.followers.items():
                self.cluster.say(
                    f"  {follower}: {one.phase}, match {one.match}, next {one.next},"
                    f" flying {one.flying}{'' if one.active else ', silent'}"
                )

    def do_state(self, words: list[str]) -> None:
        for name in words or sorted(self.cluster.nodes):
            node = self.cluster.nodes[name]
            self.cluster.say(f"{name}: {' '.join(node.state)} ({node.applied})")

    def do_disk(self, words: list[str]) -> None:
        for name in words:
            down = self.cluster.down.get(name)
            disk = down or self.cluster.nodes[name].disk
            start = disk.compacted
            held = hard_state_words(disk.hard_state) if disk.hard_state else "nothing"
            self.cluster.say(f"{name}: after {start[0]}/{start[1]}; {held}")
            for entry in disk.entries:
                self.cluster.say(f"  {entry_words(entry)}")

    def do_refused(self, words: list[str]) -> None:
        for name in words:
            counts = self.cluster.nodes[name].engine.status().refused
            self.cluster.say(
                f"{name}: "
                + (", ".join(f"{why} {count}" for why, count in sorted(counts.items())) or "-")
            )


def run(text: str) -> str:
    """A transcript with what came of each of its commands now."""
    transcript = Transcript()
    out: list[str] = []
    below = False
    for line in text.splitlines():
        if line.startswith("> "):
            if out and out[-1]:
                out.append("")
            out.append(line)
            out += transcript.run(line[2:])
            below = True
        elif line.startswith("#") or not line:
            if not (below and not line):
                if line and out and out[-1] and not out[-1].startswith("#"):
                    out.append("")
                out.append(line)
            below = False
    return "\n".join(out).rstrip("\n") + "\n"


def run_file(path: pathlib.Path) -> tuple[str, str]:
    """What a file says, and what it should say."""
    text = path.read_text()
    return text, run(text)


__all__ = ["run", "run_file"]
