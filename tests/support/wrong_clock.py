"""Run a Python program whose wall clock is wrong from its start: `wrong_clock.py SECONDS PROGRAM ...`."""

from __future__ import annotations

import runpy
import sys
import time

if __name__ == "__main__":
    ahead, right = float(sys.argv[1]), time.time
    time.time = lambda: right() + ahead
    del sys.argv[:2]
    runpy.run_path(sys.argv[0], run_name="__main__")
