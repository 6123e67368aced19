"""What can be asked of a house. Each tool says what it is for, in its own words."""

from __future__ import annotations

from flowcore.native import tool


@tool(read_only=True)
async def heating(text: str) -> str:
    """Heat a room to a temperature."""
    return f"heating: {text}"


@tool(read_only=True)
async def lights(text: str) -> str:
    """Switch lamps on and off, and dim them."""
    return f"lights: {text}"


@tool(read_only=True)
async def shutters(text: str) -> str:
    """Open and close the shutters of the windows."""
    return f"shutters: {text}"


@tool(read_only=True)
async def watering(text: str) -> str:
    """Water the plants of the garden."""
    return f"watering: {text}"


@tool(read_only=True)
async def door(text: str) -> str:
    """Lock and unlock the front door, and tell who rings."""
    return f"door: {text}"


@tool(read_only=True)
async def music(text: str) -> str:
    """Play songs and albums through loudspeakers."""
    return f"music: {text}"
