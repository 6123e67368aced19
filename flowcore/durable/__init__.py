"""What requests leave in the hard state: idempotency keys, tasks, singletons, revocations.

The state's commands say what may happen (`flowcore.state.work`); here is who gives them, when, and what a
node does on hearing of them.
"""

from flowcore.durable.holders import holder_of, node_of
from flowcore.durable.opening import Durable, open_durable
from flowcore.durable.revocations import Revocations
from flowcore.durable.singleton import Single, open_single
from flowcore.durable.views import told_of

__all__ = [
    "Durable",
    "Revocations",
    "Single",
    "holder_of",
    "node_of",
    "open_durable",
    "open_single",
    "told_of",
]
