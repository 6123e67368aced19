"""Raft in a world that fails: servers on the engine, clients, an operator, adversaries, and what must hold.

`play(seed)` in `play.py` is one run; `python -m support.raft_world` makes many.
"""
