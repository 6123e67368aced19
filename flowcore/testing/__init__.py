"""What authors of plugins test with: whether a plugin holds to what flowcore relies on.

async def test_my_plugin() -> None:
    await check_plugin(my_plugin)
"""

from flowcore.testing.check import check_plugin
from flowcore.testing.findings import CheckFailed, Report, Wrong
from flowcore.testing.trial import Trial

__all__ = ["CheckFailed", "Report", "Trial", "Wrong", "check_plugin"]
