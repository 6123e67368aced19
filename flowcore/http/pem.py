"""Files of certificates and keys, read into an SSLContext; whatever cannot be used is said with its name."""

from __future__ import annotations

import datetime
import logging
import os
import pathlib
import ssl
import stat

from flowcore.config import Secret
from flowcore.errors import AssemblyError
from flowcore.secrets import check_mode, refuse_sample_key

logger = logging.getLogger(__name__)

_LARGEST = 1 << 20
"""Most bytes of a file of certificates."""
_SOON = datetime.timedelta(days=14)
Stamp = tuple[int, int, int] | None
"""What tells that a file is another one than before."""


def load_chain(context: ssl.SSLContext, cert: pathlib.Path, key: pathlib.Path | Secret) -> None:
    """Show this certificate, with those between it and its CA. Raises AssemblyError."""
    _check_file(cert, "certificate")
    named = "given" if isinstance(key, Secret) else repr(str(key))
    try:
        if isinstance(key, Secret):
            _load_secret(context, cert, key)
        else:
            _check_file(key, "key", secret=True)
            context.load_cert_chain(cert, key, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise AssemblyError(f"the key {named} is not that of {str(cert)!r}") from None
        raise AssemblyError(
            f"the certificate {str(cert)!r} with the key {named} cannot be used:"
            f" {error.reason or 'expected PEM'}"
        ) from None
    except OSError as error:
        raise AssemblyError(f"the certificate {str(cert)!r}: {error.strerror}") from None
    _look_at(cert)


def load_authorities(context: ssl.SSLContext, path: pathlib.Path) -> None:
    """Believe the CAs of this file. Raises AssemblyError."""
    _check_file(path, "CA file")
    try:
        context.load_verify_locations(cafile=path)
    except OSError as error:  # SSLError is one
        why = getattr(error, "reason", None) or error.strerror
        raise AssemblyError(f"the CA file {str(path)!r} cannot be used: {why}") from None


def stamp(path: pathlib.Path) -> Stamp:
    """What the file is now; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _load_secret(context: ssl.SSLContext, cert: pathlib.Path, key: Secret) -> None:
    """OpenSSL reads keys from files only: this one never is on a disk."""
    descriptor = os.memfd_create("key", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.reveal().encode())
        file.flush()
        context.load_cert_chain(cert, f"/proc/self/fd/{descriptor}", password=_no_password)


def _look_at(path: pathlib.Path) -> None:
    """Refuse a certificate whose key was published; warn of one that is, or soon will be, no good."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
        public = certificate.public_key()
    except (OSError, ValueError, UnsupportedAlgorithm):
        return  # OpenSSL has taken it: it is of a kind that only it knows, or is just being exchanged
    try:
        refuse_sample_key(
            public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            f"the key of the certificate {str(path)!r}",
        )
    except ValueError as error:
        raise AssemblyError(str(error)) from None
    ends, begins = certificate.not_valid_after_utc, certificate.not_valid_before_utc
    left = ends - datetime.datetime.now(datetime.UTC)
    if left < datetime.timedelta():
        logger.error("the certificate %s has expired: nobody will believe it", path)
    elif left < min(_SOON, (ends - begins) / 3):
        logger.warning("the certificate %s expires within %d days", path, left.days + 1)


def _check_file(path: pathlib.Path, what: str, *, secret: bool = False) -> None:
    """Raise AssemblyError unless it is a file that can be read, and a secret one by its owner alone."""
    try:
        found = path.stat()
    except OSError as error:
        raise AssemblyError(f"the {what} {str(path)!r}: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
        raise AssemblyError(
            f"the {what} {str(path)!r} is no regular file of at most {_LARGEST} bytes"
        )
    if secret:
        try:
            check_mode(found.st_mode)
        except ValueError as error:
            raise AssemblyError(f"the {what} {str(path)!r} {error}") from None
    if not os.access(path, os.R_OK):
        raise AssemblyError(f"the {what} {str(path)!r} cannot be read")


def _no_password() -> str:
    """For an encrypted key: OpenSSL would ask at the terminal else."""
    return ""
