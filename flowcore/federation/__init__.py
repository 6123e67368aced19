"""The agents of all nodes of a swarm as those of one: a shared directory, and requests that travel."""

from flowcore.federation.federation import Federation
from flowcore.federation.placed import Placed
from flowcore.federation.places import Place
from flowcore.federation.wire import WrongMessage, unpack

__all__ = ["Federation", "Place", "Placed", "WrongMessage", "unpack"]
