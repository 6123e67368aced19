"""The audit log's form: lines that hang together, and the check that they do."""

from flowcore.audit.chain import GENESIS, Broken, Chain, Link, link_of
from flowcore.audit.verify import Verdict, verify_files

__all__ = ["GENESIS", "Broken", "Chain", "Link", "Verdict", "link_of", "verify_files"]
