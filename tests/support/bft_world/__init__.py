"""Byzantine agreement in a world that fails, among nodes that lie: servers, liars, and what must hold.

`BftRun(seed).play()` in `play.py` is one run; `python -m support.bft_world` makes many.
"""
