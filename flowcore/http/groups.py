"""The groups of the key exchange: X25519, P-256, P-384, and no other.

Python lets them be chosen from 3.15 on (`SSLContext.set_groups`). Before that OpenSSL itself is told, through
the SSL_CTX that an SSLContext owns: it is the first member of CPython's `PySSLContext`, in all of 3.11 to
3.14. That it is the right one is seen before it is written to: it must give the options that the SSLContext
gives. Where OpenSSL cannot be reached so (another Python, or one that hides the OpenSSL it contains), all of
OpenSSL's groups are offered, and a warning says so once.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import ssl
import sys

logger = logging.getLogger(__name__)

GROUPS = "X25519:P-256:P-384"
_SET_GROUPS_LIST = 92
"""SSL_CTRL_SET_GROUPS_LIST of openssl/ssl.h."""


def limit_groups(context: ssl.SSLContext) -> bool:
    """Let a context offer and accept these groups only; False where that cannot be done."""
    set_groups = getattr(context, "set_groups", None)  # Python 3.15
    if set_groups is not None:
        set_groups(GROUPS)
        return True
    library = _openssl()
    if library is None:
        return False
    owned = ctypes.c_void_p.from_address(id(context) + object.__basicsize__)
    if library.SSL_CTX_get_options(owned) != context.options & 0xFFFFFFFFFFFFFFFF:
        raise RuntimeError("an SSLContext of this Python does not begin with its SSL_CTX")
    return bool(library.SSL_CTX_ctrl(owned, _SET_GROUPS_LIST, 0, GROUPS.encode()) == 1)


@functools.cache
def _openssl() -> ctypes.CDLL | None:
    """The OpenSSL that `ssl` uses; None, and a warning, if it cannot be reached."""
    import _ssl

    try:
        if sys.implementation.name != "cpython":
            raise OSError("this is not CPython")
        library = ctypes.CDLL(getattr(_ssl, "__file__", None))
        library.SSL_CTX_get_options.argtypes = [ctypes.c_void_p]
        library.SSL_CTX_get_options.restype = ctypes.c_uint64
        library.SSL_CTX_ctrl.argtypes = [
            ctypes.c_void_p,
            ctypes.c_int,
            ctypes.c_long,
            ctypes.c_char_p,
        ]
        library.SSL_CTX_ctrl.restype = ctypes.c_long
    except (OSError, AttributeError) as error:
        logger.warning("all of OpenSSL's key exchange groups are offered: %s", error)
        return None
    return library
