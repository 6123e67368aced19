"""Messages and streams from any node to any node, whatever the topology."""

from flowcore.swarm.overlay.overlay import SwarmOverlay
from flowcore.swarm.overlay.settings import OverlaySettings

__all__ = ["OverlaySettings", "SwarmOverlay"]
