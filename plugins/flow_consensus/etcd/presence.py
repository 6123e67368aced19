"""Who is there: each node has a key that goes with its lease, and sees those of the others."""

from __future__ import annotations

import trio

from flow_consensus.etcd import leases, messages
from flow_consensus.etcd.failures import EtcdFailure
from flow_consensus.etcd.log import Log
from flow_consensus.etcd.messages import Plain
from flow_consensus.etcd.records import after_all

_TTL = 15
"""Seconds after which a node that is gone is not there any more."""
_LOOK = 5.0
"""Seconds between two looks."""


class Presence:
    """This node among those of the same log."""

    def __init__(self, log: Log, node: str) -> None:
        self._log = log
        self._node = node
        self.nodes: tuple[str, ...] = ()
        """Who was there at the last look."""

    async def run(self) -> None:
        """Be there, until cancelled; what fails is tried again."""
        lease = 0
        while True:
            try:
                lease = await self._once(lease)
            except EtcdFailure:
                lease = 0
            await trio.sleep(_LOOK)

    async def _once(self, lease: int) -> int:
        client, keys = self._log.client, self._log.keys
        if not lease or not await leases.keep_alive(client, lease):
            lease = await leases.grant(client, _TTL)
            request = {"key": keys.node(self._node), "value": b"", "lease": lease}
            await client.ask(messages.PUT, request, Plain)
        all_nodes = keys.all_nodes
        answer = await client.read(
            messages.get_all(all_nodes, after_all(all_nodes), limit=1000, keys_only=True)
        )
        names = (one.key.removeprefix(all_nodes).decode(errors="replace") for one in answer.kvs)
        self.nodes = tuple(sorted(names))
        return lease
