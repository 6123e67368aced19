"""A secret of this run of the tests, in everything that is secret, which must be seen nowhere.

Nodes of tests get it through their environment and files; `tests/conftest.py` looks for it, in whatever form,
in what each test printed, logged and wrote, and clients of tests look for it in each answer.
"""

from __future__ import annotations

import base64
import contextlib
import pathlib
import secrets

CANARY = "canary-" + secrets.token_hex(16)
"""Of 39 bytes, so that its base64 form is the same at the beginning of whatever it begins."""
FORMS = (
    CANARY.encode(),
    CANARY[7:].encode(),
    base64.b64encode(CANARY.encode()),
    base64.urlsafe_b64encode(CANARY.encode()),
    CANARY.encode().hex().encode(),
    CANARY.encode().hex().upper().encode(),
)
_KEPT: set[pathlib.Path] = set()
_LARGEST = 64 << 20


def keeps(path: pathlib.Path) -> pathlib.Path:
    """Say of a file that the secret stands there, since that is where it belongs."""
    _KEPT.add(path)
    return path


def is_in(data: bytes | str) -> bool:
    """Whether the secret, in any form, is in something that was said."""
    said = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    return any(form in said for form in FORMS)


def check(data: bytes | str, where: str) -> None:
    """Raise AssertionError if the secret was said."""
    assert not is_in(data), f"the canary secret is in {where}"


def check_folder(folder: pathlib.Path) -> None:
    """The same for all files in a folder but those that keep it."""
    for path in folder.rglob("*"):
        if path in _KEPT or path.is_symlink() or not path.is_file():
            continue
        with contextlib.suppress(OSError), path.open("rb") as file:
            check(file.read(_LARGEST), str(path))
