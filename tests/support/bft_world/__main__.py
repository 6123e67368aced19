"""`python -m support.bft_world SEEDS [FIRST]`: so many runs, on all processors; what fails tells its seed.

`--trace SEED` runs one, and prints what happened at last. `--mutants` sees by which of so many seeds each
planted fault is found; `--quick` looks for those alone that are found soon.
"""

from __future__ import annotations

import sys

from support.bft_world.campaign import CAMPAIGN

if __name__ == "__main__":
    sys.exit(CAMPAIGN.main())
