"""Which links there are in the whole swarm, by what each node reports of its own. Sans-IO.

This is link-state routing as in OSPF (RFC 2328) without areas and costs: each node signs a report of its
links and passes those of others on, so all come to know the same graph. A report that is new to a node
goes on to those neighbours that its origin has no link to, for the others have it from the origin: in a
mesh a report is sent once to each node, in a tree once over each link. What is missed on the way is
asked for when a link comes up, and then and again (`Digest`). A link counts if both of its ends report it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from flowcore.swarm.overlay.frames import Digest, Report, encode
from flowcore.swarm.overlay.proofs import Proofs

MOST_REPORTS = 4096
"""Nodes whose reports are kept."""


class Reports:
    """This node's report, and the newest of each other node's."""

    def __init__(self, name: str, boot: int, version: int, proofs: Proofs) -> None:
        """`version` is to be higher than at the last start, such as a time; if it is not, that is made
        good as soon as somebody has an older report of this node."""
        self._name = name
        self._boot = boot
        self._version = version
        self._proofs = proofs
        self._kept: dict[str, Report] = {}
        self.firm = Drawn()
        """The links that the topology asks for, at both ends;"""
        self.every = Drawn()
        """all links."""
        self.unproven = 0
        """Reports that were not signed by who they are of."""
        self.tell((), ())

    @property
    def own(self) -> Report:
        """This node's."""
        return self._kept[self._name]

    @property
    def count(self) -> int:
        """How many are kept."""
        return len(self._kept)

    def boot(self, node: str) -> int | None:
        """Which start of a node is the one now; None if nothing is known of it."""
        report = self._kept.get(node)
        return None if report is None else report.boot

    def tell(self, firm: Iterable[str], spare: Iterable[str]) -> Report | None:
        """These are this node's links now: its new report; None if nothing is new in it."""
        firm, spare = tuple(sorted(firm)), tuple(sorted(spare))
        kept = self._kept.get(self._name)
        said = (firm, spare, self._certificate())
        if kept is not None and (kept.firm, kept.spare, kept.certificate) == said:
            return None
        return self._renewed(firm, spare)

    def _certificate(self) -> bytes:
        return self._proofs.certificate(self._name) or b""

    def _renewed(self, firm: tuple[str, ...], spare: tuple[str, ...]) -> Report:
        self._version += 1
        said = encode((self._boot, self._version, firm, spare))
        report = Report(
            origin=self._name,
            boot=self._boot,
            version=self._version,
            firm=firm,
            spare=spare,
            certificate=self._certificate(),
            signature=self._proofs.make("report", self._name, "", said),
        )
        self._keep(report)
        return report

    def take(self, report: Report) -> Report | None:
        """Take in what was reported: what has to be passed on for it, if anything.

        That is the report itself if it is newer than what was known; or this node's own, newer again, if
        it is an older start of this node that somebody remembers.
        """
        kept = self._kept.get(report.origin)
        if kept is not None and report.version <= kept.version:
            return None
        if kept is None and len(self._kept) >= MOST_REPORTS:
            return None
        said = encode((report.boot, report.version, report.firm, report.spare))
        if not self._holds(report, said):
            self.unproven += 1
            return None
        if report.origin == self._name:
            self._version = report.version
            return self._renewed(self.own.firm, self.own.spare)
        self._keep(report)
        return report

    def _holds(self, report: Report, said: bytes) -> bool:
        origin, proofs = report.origin, self._proofs
        if proofs.hold("report", origin, "", said, report.signature):
            return True
        # of somebody new, or with a new certificate
        return proofs.meet(origin, report.certificate) and proofs.hold(
            "report", origin, "", said, report.signature
        )

    def onward(self, report: Report, neighbours: Collection[str], source: str) -> list[str]:
        """To which neighbours a report goes on that came from one: those that have not had it."""
        had = {source, report.origin}
        if report.origin != self._name:
            had.update(report.firm, report.spare)
        return [one for one in neighbours if one not in had]

    def digest(self, *, answer: bool = False) -> Digest:
        """How new all of it is."""
        return Digest({name: report.version for name, report in self._kept.items()}, answer)

    def newer(self, digest: Digest) -> list[Report]:
        """What is newer here than where a digest comes from."""
        versions = digest.versions
        return [one for name, one in self._kept.items() if one.version > versions.get(name, -1)]

    def behind(self, digest: Digest) -> bool:
        """Whether something is newer where it comes from."""
        kept = self._kept
        return any(
            name not in kept or version > kept[name].version
            for name, version in digest.versions.items()
        )

    def keep_only(self, nodes: Collection[str]) -> None:
        """Forget the reports of all others."""
        for name in self._kept.keys() - set(nodes) - {self._name}:
            del self._kept[name]
            self.firm.erase(name)
            self.every.erase(name)

    def _keep(self, report: Report) -> None:
        self._kept[report.origin] = report
        self.firm.draw(report.origin, report.firm)
        self.every.draw(report.origin, (*report.firm, *report.spare))


class Drawn:
    """A graph of the links that both of their ends report; kept up to date link by link."""

    def __init__(self) -> None:
        self.links: dict[str, set[str]] = {}
        """Who has links to whom: to be read only."""
        self._said: dict[str, frozenset[str]] = {}

    def draw(self, node: str, links: Iterable[str]) -> None:
        """These are the links of a node, as it says."""
        said = self._said[node] = frozenset(links)
        mine = self.links.setdefault(node, set())
        for gone in mine - said:
            self.links[gone].discard(node)
        self.links[node] = mine = {one for one in said if node in self._said.get(one, ())}
        for one in mine:
            self.links[one].add(node)

    def erase(self, node: str) -> None:
        """Nothing is known of a node any more."""
        self.draw(node, ())
        del self._said[node], self.links[node]
