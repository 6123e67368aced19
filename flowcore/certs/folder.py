"""A folder of certificates: `ca.pem` and `ca.key`, and `NAME.pem` and `NAME.key` of what it has issued.

`ca.pem` is what others trust: the CA that signs now, and, while CAs are exchanged, the one before it. Keys
have mode 0600, the folder 0700; every file is written in one step.
"""

from __future__ import annotations

import datetime
import fcntl
import os
import pathlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import attrs
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from flowcore.certs.described import Described, describe, read_bundle
from flowcore.certs.issuing import (
    CA_DAYS,
    Algorithm,
    CertsError,
    Issued,
    Wanted,
    issue,
    make_authority,
)
from flowcore.secrets import read_private, write_private

AUTHORITY = "ca"
_LARGEST = 1 << 20


@attrs.frozen(kw_only=True)
class Found:
    """A certificate of the folder, and what is to be said of it."""

    name: str
    """Of its file."""
    described: Described
    signed: str
    """`itself`, `the CA`, `an older CA` or `somebody else`."""
    unusable: str = ""
    """Why it cannot be used, if so."""
    warning: str = ""
    """What is soon to be done, if anything."""


@attrs.define
class CertFolder:
    """The files of one private CA. Everything raises CertsError, which says what to do."""

    path: pathlib.Path

    # ---- making

    def init(
        self,
        leaves: Sequence[Wanted],
        now: datetime.datetime,
        *,
        days: float = CA_DAYS,
        algorithm: Algorithm = "p256",
        domains: tuple[str, ...] = (),
        force: bool = False,
    ) -> None:
        """Make a CA and the first certificates; all of them, or, if one file is in the way, none."""
        authority = make_authority(now, days=days, algorithm=algorithm, domains=domains)
        issued = {one.name: issue(authority, one, now) for one in leaves}
        self.make()
        with self._locked():
            if not force:
                self.refuse_existing(AUTHORITY, *issued)
            self._write_authority(authority, ())
            for name, one in issued.items():
                self._write(name, one)

    def make(self) -> None:
        """The folder, for its owner alone; one that is there stays as it is."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CertsError(f"{self.path}: {error.strerror}") from None

    def refuse_existing(self, *names: str) -> None:
        """Raise CertsError if there are certificates or keys of these names."""
        files = [self.path / f"{name}{suffix}" for name in names for suffix in (".pem", ".key")]
        there = [str(one) for one in files if one.exists()]
        if there:
            raise CertsError(
                f"{', '.join(there)} would be written over; to exchange certificates: flowctl certs rotate;"
                " to begin anew all the same: --force"
            )

    def issue(self, wanted: Wanted, now: datetime.datetime, *, force: bool = False) -> Described:
        """A new certificate."""
        with self._locked():
            if not force:
                self.refuse_existing(wanted.name)
            return self._issue(wanted, now)

    def issue_nodes(
        self, wanted: Sequence[Wanted], now: datetime.datetime, *, force: bool = False
    ) -> list[str]:
        """Certificates for all nodes of a cluster, and a CA if there is none; the names of those made.

        What is there already stays as it is, if it is as wanted; with `force` it is made anew.
        """
        if not (self.path / f"{AUTHORITY}.pem").exists():
            self.init(wanted, now, force=force)
            return [one.name for one in wanted]
        made = []
        for one in wanted:
            if force or not self._is_there(one):
                self.issue(one, now, force=force)
                made.append(one.name)
        return made

    def _is_there(self, wanted: Wanted) -> bool:
        """Whether there is a certificate as it is wanted. Raises CertsError if there is another one."""
        if not (self.path / f"{wanted.name}.pem").exists():
            return False
        found = self._found(wanted.name, self._describe(wanted.name))
        one = found.described
        if found.unusable:
            raise CertsError(f"{self.path / wanted.name}.pem {found.unusable}")
        if (one.kind, one.algorithm) != (wanted.kind, wanted.algorithm):
            raise CertsError(
                f"{self.path / wanted.name}.pem is for a {one.kind.value}, of {one.algorithm}; a"
                f" {wanted.kind.value}'s of {wanted.algorithm} takes its place with: --force"
            )
        return True

    def rotate(self, name: str, now: datetime.datetime, days: float | None = None) -> Described:
        """A new certificate and key in the place of an old one, which others believe until it expires."""
        with self._locked():
            old = self._describe(name)
            wanted = Wanted(
                kind=old.kind,
                name=name,
                hosts=old.hosts,
                days=old.days if days is None else days,
                algorithm=old.algorithm,
            )
            return self._issue(wanted, now)

    def rotate_authority(self, now: datetime.datetime, days: float | None = None) -> Described:
        """A new CA before the old one: both are believed, the new one signs from now on."""
        with self._locked():
            bundle = self.bundle()
            if len(bundle) > 1:
                raise CertsError(
                    f"{self.path / 'ca.pem'} holds two CAs: first retire the older one, with:"
                    " flowctl certs rotate ca --retire"
                )
            [old] = bundle
            authority = make_authority(
                now,
                days=round(old.days) if days is None else days,
                algorithm=old.algorithm,
                domains=_domains(old),
            )
            self._write_authority(authority, [old])
            return describe(authority.certificate)

    def retire(self, *, force: bool = False) -> Described:
        """Believe the newest CA alone; not as long as something here is of the older one."""
        with self._locked():
            current, *older = self.bundle()
            if not older:
                raise CertsError("there is one CA only, and nothing to retire")
            left = [one.name for one in self.leaves() if not one.described.signed_by(current)]
            if left and not force:
                raise CertsError(
                    f"{', '.join(left)}: still of the older CA; first: flowctl certs rotate --all"
                )
            self._put(f"{AUTHORITY}.pem", _pem([current]), mode=0o644)
            return older[0]

    # ---- reading

    def bundle(self) -> list[Described]:
        """The CAs that are believed; the first one signs."""
        return [describe(one) for one in read_bundle(self._read(f"{AUTHORITY}.pem"))]

    def leaves(self) -> list[Found]:
        """What was issued, by name."""
        names = sorted({one.stem for one in self.path.glob("*.pem")} - {AUTHORITY})
        return [self._found(name, self._describe(name)) for name in names]

    def found(self, now: datetime.datetime) -> list[Found]:
        """Everything, with what is to be said of it."""
        bundle = self.bundle()
        rows = [
            Found(
                name=AUTHORITY,
                described=one,
                signed="itself",
                unusable=self._key_fault(AUTHORITY, one) if index == 0 else "",
                warning="is being replaced: retire it when all is rotated" if index else "",
            )
            for index, one in enumerate(bundle)
        ]
        return [_timed(one, now) for one in (*rows, *self.leaves())]

    def _found(self, name: str, described: Described) -> Found:
        current, *older = self.bundle()
        if described.signed_by(current):
            signed = "the CA"
        elif any(described.signed_by(one) for one in older):
            signed = "an older CA"
        else:
            signed = "somebody else"
        return Found(
            name=name,
            described=described,
            signed=signed,
            unusable=self._key_fault(name, described)
            or ("is of no CA that is believed here" if signed == "somebody else" else ""),
            warning="is of the older CA: rotate it" if signed == "an older CA" else "",
        )

    def _key_fault(self, name: str, described: Described) -> str:
        """What is wrong with the key beside a certificate; nothing, if it is right."""
        try:
            key = self._key(name)
        except CertsError as error:
            return str(error)
        if key.public_key() != described.certificate.public_key():
            return f"{self.path / name}.key is not its key: rotate it"
        return ""

    # ---- files

    @contextmanager
    def _locked(self) -> Generator[None]:
        """Alone with the folder: two that rotate at a time would mix their files."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._no_folder(error) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _no_folder(self, error: OSError) -> CertsError:
        return CertsError(
            f"{self.path}: {error.strerror}; a CA and its folder are made with: flowctl certs init"
            f" --dir {self.path}"
        )

    def _authority(self) -> Issued:
        current = self.bundle()[0]
        key = self._key(AUTHORITY)
        if key.public_key() != current.certificate.public_key():
            raise CertsError(
                f"{self.path / 'ca.key'} is not the key of {self.path / 'ca.pem'}: make a new CA with:"
                " flowctl certs rotate ca"
            )
        return Issued(current.certificate, key)

    def _issue(self, wanted: Wanted, now: datetime.datetime) -> Described:
        made = issue(self._authority(), wanted, now)
        self._write(wanted.name, made)
        return describe(made.certificate)

    def _key(self, name: str) -> ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey:
        path = self.path / f"{name}.key"
        try:
            key = load_pem_private_key(read_private(path), None)
        except (ValueError, TypeError) as error:
            raise CertsError(f"{path} {error}") from None
        if not isinstance(key, (ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)):
            raise CertsError(f"{path} holds a key of another kind than those made here")
        return key

    def _describe(self, name: str) -> Described:
        path = self.path / f"{name}.pem"
        if not path.exists():
            known = ", ".join(sorted(one.stem for one in self.path.glob("*.pem"))) or "none"
            raise CertsError(f"there is no certificate {name!r} in {self.path} (known: {known})")
        try:
            return describe(read_bundle(self._read(path.name))[0])
        except CertsError as error:
            raise CertsError(f"{path} {error}") from None

    def _read(self, name: str) -> bytes:
        path = self.path / name
        try:
            with path.open("rb") as file:
                return file.read(_LARGEST)
        except OSError as error:
            raise self._no_folder(error) from None

    def _write_authority(self, authority: Issued, older: Sequence[Described]) -> None:
        # what is believed comes first: a CA that signs and is not believed would be the worse half
        current = describe(authority.certificate)
        self._put(f"{AUTHORITY}.pem", _pem([current, *older]), mode=0o644)
        self._put(f"{AUTHORITY}.key", authority.key_pem)

    def _write(self, name: str, made: Issued) -> None:
        self._put(f"{name}.key", made.key_pem)
        self._put(f"{name}.pem", made.cert_pem, mode=0o644)

    def _put(self, name: str, content: bytes, mode: int = 0o600) -> None:
        try:
            write_private(self.path / name, content, mode=mode, replace=True)
        except OSError as error:
            raise CertsError(f"{self.path / name}: {error.strerror}") from None


def _timed(found: Found, now: datetime.datetime) -> Found:
    """With what the dates say."""
    one = found.described
    if found.unusable:
        return found
    if one.days_left(now) <= 0:
        return attrs.evolve(found, unusable="has expired: rotate it")
    if one.begins > now:
        return attrs.evolve(found, unusable="is of the future: look at the clock")
    if one.due(now) and not found.warning:
        return attrs.evolve(found, warning="less than a third of its time is left: rotate it")
    return found


def _pem(described: Sequence[Described]) -> bytes:
    return b"".join(one.certificate.public_bytes(Encoding.PEM) for one in described)


def _domains(authority: Described) -> tuple[str, ...]:
    """The domains that a CA was made for."""
    from cryptography import x509

    extension = authority.certificate.extensions.get_extension_for_class(x509.NameConstraints)
    permitted = extension.value.permitted_subtrees or []
    names = [one.value for one in permitted if isinstance(one, x509.DNSName)]
    return tuple(one for one in names if one != "localhost")
