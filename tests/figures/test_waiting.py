"""What threads wait for a processor is told apart from what they do: here two want the same one."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from benchmarks.waiting import waiting


def test_who_shares_a_processor_waits_for_it() -> None:
    allowed = os.sched_getaffinity(0)
    one = min(allowed)
    busy = [sys.executable, "-I", "-S", "-c", "while True: pass"]
    with subprocess.Popen(busy, preexec_fn=lambda: os.sched_setaffinity(0, {one})) as other:
        try:
            os.sched_setaffinity(0, {one})
            with waiting() as waited:
                before, until = waited(), time.monotonic() + 30.0
                while waited() - before < 0.02 and time.monotonic() < until:
                    pass
                assert waited() - before >= 0.02
        finally:
            os.sched_setaffinity(0, allowed)
            other.kill()
