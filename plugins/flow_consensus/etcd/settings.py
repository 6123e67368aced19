"""The settings of `[consensus]` with `type = "etcd"`."""

from __future__ import annotations

import ipaddress

import attrs

from flowcore.config import Duration, Secret, Size, setting
from flowcore.config import validators as v
from flowcore.http import ClientTlsSettings, split_url


def _check_endpoints(urls: tuple[str, ...]) -> bool:
    for url in urls:
        origin, target = split_url(url)
        if target != "/":
            raise ValueError(f"expected an endpoint without a path, not {url!r}")
        if urls.count(url) > 1 or not origin.host:
            raise ValueError(f"expected each endpoint once, not {url!r} again")
    if len({split_url(url)[0].secure for url in urls}) > 1:
        raise ValueError("expected all endpoints to be http, or all https")
    return 1 <= len(urls) <= 32


def _check_prefix(prefix: str) -> bool:
    return (
        prefix.isascii()
        and prefix.isprintable()
        and " " not in prefix
        and 2 <= len(prefix) <= 200
        and prefix.endswith("/")
    )


def _check_text(secret: Secret) -> bool:
    return secret.reveal() != ""


def is_loopback(host: str) -> bool:
    """Whether it is this machine, without asking anybody."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@attrs.frozen(kw_only=True)
class EtcdSettings:
    """Several nodes share one order that an etcd keeps; they go on while a majority of its members does."""

    endpoints: tuple[str, ...] = setting(
        ("http://127.0.0.1:2379",),
        validator=v.Check(_check_endpoints, "1 to 32 http or https URLs"),
        help="etcd's client URLs, of some or all of its members; when one fails, the next one is asked",
    )
    prefix: str = setting(
        "flowcore/",
        validator=v.Check(
            _check_prefix, "printable ASCII without spaces that ends with a slash, 2 to 200 long"
        ),
        help="what every key begins with; nodes with the same prefix share one log",
    )
    user: str | None = setting(None, validator=v.non_empty(), help="etcd's user, where it has any")
    password: Secret | None = setting(
        None,
        validator=v.Check(_check_text, "a password that is not empty"),
        help="the user's password",
    )
    tls: ClientTlsSettings | None = setting(
        None, help="TLS 1.3 towards https endpoints; unset: believed are the system's CAs"
    )
    timeout: Duration = setting(
        1.0,
        validator=v.gt(0),
        help="how long one answer is waited for before another member is asked",
    )
    patience: Duration = setting(
        0.9,
        validator=v.gt(0),
        help="how long a command or a read waits for etcd before it is refused",
    )
    start: Duration = setting(
        10.0,
        validator=v.gt(0),
        help="how long a node that has never seen this log waits for etcd when it starts",
    )
    backoff: Duration = setting(
        0.05,
        validator=v.gt(0),
        help="wait after every endpoint has failed, doubled each time they all fail again",
    )
    backoff_most: Duration = setting(2.0, validator=v.gt(0), help="the longest such wait")
    silence: Duration = setting(
        1.0,
        validator=v.gt(0),
        help="silence of a watch after which it is checked that nothing was missed",
    )
    command_size: Size = setting(
        1400 * 2**10,
        validator=v.in_range(1024, 16 * 2**20),
        help="the largest command, and all of one transaction; larger ones are refused. etcd's own"
        " `--max-request-bytes` (1.5 MiB) must be larger by a few KiB",
    )
    batch: int = setting(1000, validator=v.ge(1), help="commands in one transaction at most")
    queue: int = setting(
        1024, validator=v.ge(1), help="commands that may wait to be sent; more are refused"
    )
    queue_bytes: Size = setting(
        64 * 2**20, validator=v.ge(1), help="bytes of the commands that may wait to be sent"
    )
    snapshot_every: int = setting(
        10_000,
        validator=v.ge(1),
        help="commands after which a snapshot of the state is stored in etcd, and the log lets go of them",
    )
    snapshot_most: Size = setting(
        512 * 2**20,
        validator=v.ge(1024),
        help="the largest snapshot that is stored; of a larger state the log is kept whole. Two of them and"
        " the log must fit into etcd's `--quota-backend-bytes` (2 GiB)",
    )
    keep: int = setting(
        5000,
        validator=v.ge(0),
        help="entries kept though the snapshot has them, for nodes that are a little behind",
    )
    compact_history: bool = setting(
        True,
        help="let etcd forget the revisions before the last but one snapshot, of all keys; not where others"
        " need them: then etcd's own auto-compaction must be on",
    )

    def __attrs_post_init__(self) -> None:
        origins = [split_url(url)[0] for url in self.endpoints]
        if (self.user is None) is not (self.password is None):
            raise ValueError("expected user and password together")
        if self.tls is not None and not origins[0].secure:
            raise ValueError("expected tls only beside https endpoints")
        if self.backoff_most < self.backoff:
            raise ValueError(
                f"expected backoff_most to be at least backoff, not {self.backoff_most} and {self.backoff}"
            )
        if self.password is not None:
            for origin in origins:
                if not origin.secure and not is_loopback(origin.host):
                    raise ValueError(
                        f"expected https endpoints where a password is sent beyond this machine, not {origin}"
                    )
