"""`examples/process_agent.py`, as a program that imports as much as real ones do."""

from __future__ import annotations

import asyncio  # noqa: F401
import email.message  # noqa: F401
import sqlite3  # noqa: F401

import msgspec  # noqa: F401
import trio  # noqa: F401

from examples.process_agent import main

if __name__ == "__main__":
    main()
