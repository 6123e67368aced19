"""Leases: keys of etcd that go when whoever put them there does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from flow_consensus.etcd import messages
from flow_consensus.etcd.client import EtcdClient
from flow_consensus.etcd.failures import EtcdFailure, LeaseLost, Unanswered
from flow_consensus.etcd.messages import Lease, Plain

T = TypeVar("T")


async def grant(client: EtcdClient, seconds: int) -> int:
    """A new lease. Raises EtcdFailure."""
    lease = await client.ask(messages.GRANT, {"TTL": seconds}, Lease)
    if lease.ID == 0 or lease.error:
        raise Unanswered(f"what came is no lease: {lease.error or 'it has no number'}")
    return lease.ID


async def keep_alive(client: EtcdClient, lease: int) -> bool:
    """Let it live for its whole time again; whether it still lived. Raises EtcdFailure."""
    return (await client.ask(messages.KEEP_ALIVE, {"ID": lease}, Lease)).TTL > 0


async def holding(
    client: EtcdClient,
    key: bytes,
    value: bytes,
    seconds: int,
    work: Callable[[int], Awaitable[T]],
) -> T | None:
    """What `work` gives, done while this client alone holds a key; None if another one holds it.

    `work` is told the revision at which the key was put. Raises EtcdFailure, and what `work` raises.
    """
    lease = await grant(client, seconds)
    try:
        request = messages.txn(
            [messages.unchanged(key, 0)], [messages.put(key, value, lease=lease)], []
        )
        answer = await client.write(request)
        if not answer.succeeded:
            return None
        done: list[T] = []
        failed: list[Exception] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep, client, lease, seconds, nursery.cancel_scope)
            try:
                done.append(await work(answer.header.revision))
            except Exception as error:  # raised again, outside of the nursery's group
                failed.append(error)
            nursery.cancel_scope.cancel()
        if failed:
            raise failed[0]
        if not done:
            raise LeaseLost("the lock was lost")
        return done[0]
    finally:
        with trio.move_on_after(1.0, shield=True):
            try:
                await client.ask(messages.REVOKE, {"ID": lease}, Plain)
            except EtcdFailure:
                await trio.lowlevel.checkpoint()  # it ends by itself


async def _keep(client: EtcdClient, lease: int, seconds: int, scope: trio.CancelScope) -> None:
    """Keep it alive; what it is needed for is cancelled when that fails for too long."""
    until = trio.current_time() + seconds
    alive = True
    while alive:
        await trio.sleep(seconds / 3)
        asked = trio.current_time()
        try:
            alive = await keep_alive(client, lease)
        except EtcdFailure:
            alive = asked < until
        else:
            until = asked + seconds
    scope.cancel()
