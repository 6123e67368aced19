"""The node that the attacks of one file are made on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.fortress import Fortress, standing


@pytest.fixture(scope="module")
def fortress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fortress]:
    """It stands for a whole file; what a test changes, it puts back."""
    with standing(tmp_path_factory.mktemp("fortress")) as one:
        yield one
