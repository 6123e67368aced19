"""`etcd`: one order of commands that an etcd keeps, for those who have one.

    node -> writer   -> txn: the head is still what it was -> a batch after it, the head moved on
    node <- follower <- watch of the batches
    node <- reader   <- batches by position; where they are gone, the snapshot in their place

`messages` and `records` are sans-IO: what is said to etcd's JSON gateway, and what is kept in it.
"""

from flow_consensus.etcd.engine import Etcd, open_etcd, open_node
from flow_consensus.etcd.settings import EtcdSettings
from flowcore.hookspecs import Factory, Registry, hookimpl

__all__ = ["Etcd", "EtcdSettings", "open_node"]


@hookimpl
def flow_register(registry: Registry) -> None:
    registry.add(Factory("consensus", "etcd", EtcdSettings, open_etcd))
