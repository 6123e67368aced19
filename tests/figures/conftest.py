"""Benchmarks are no part of what is installed: they are found at the root, after everything else."""

from __future__ import annotations

import sys

from support.needs import ROOT

sys.path.append(str(ROOT))
