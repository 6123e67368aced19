"""The settings of `http`."""

from __future__ import annotations

import attrs

from flowcore.config import Duration, Secret, Size, setting
from flowcore.config import validators as v
from flowcore.http import ClientTlsSettings, split_url


def _check_url(url: str) -> bool:
    split_url(url)
    return "#" not in url


def _check_key(key: Secret) -> bool:
    text = key.reveal()
    return text.isascii() and text.isprintable()


@attrs.frozen(kw_only=True)
class HttpConfig:
    """An endpoint that makes vectors, as OpenAI's does, and how it is asked."""

    url: str = setting(
        validator=v.Check(_check_url, "an http or https URL"),
        help='where requests go, as a whole: "https://models.example/v1/embeddings"',
    )
    model: str = setting(validator=v.non_empty(), help="the model's name there")
    revision: str = setting(
        "", help="part of the identity: change it when another model goes by the same name"
    )
    key: Secret | None = setting(
        None,
        validator=v.Check(_check_key, "a key of printable ASCII"),
        help="sent as `Authorization: Bearer`",
    )
    dimensions: int = setting(
        validator=v.in_range(1, 65536), help="dimensions of the model's vectors; others are refused"
    )
    shorten: bool = setting(
        False, help="ask for vectors of so many dimensions, of a model that has more"
    )
    max_characters: int = setting(
        8_000, validator=v.ge(1), help="of a longer text only so many characters count, its first"
    )
    batch: int = setting(64, validator=v.in_range(1, 2048), help="most texts of a request")
    requests: int = setting(4, validator=v.in_range(1, 256), help="most requests at a time")
    attempts: int = setting(3, validator=v.in_range(1, 10), help="how often a request is tried")
    backoff: Duration = setting(
        0.1,
        validator=v.gt(0),
        help="longest wait before the second attempt, doubled for each further one; besides what the endpoint"
        " asks for",
    )
    deadline: Duration = setting(
        30.0, validator=v.gt(0), help="time for a request with all its attempts"
    )
    connect_timeout: Duration = setting(
        5.0, validator=v.gt(0), help="time for a connection, TLS included"
    )
    max_response: Size = setting(
        16 << 20, validator=v.ge(1024), help="most bytes of an answer's body"
    )
    tls: ClientTlsSettings | None = setting(
        None, help="TLS 1.3 towards an https `url`; unset: believed are the system's CAs"
    )
    cache: Size = setting(
        64 << 20, validator=v.ge(0), help="most bytes of vectors that are kept; 0 for none"
    )

    def __attrs_post_init__(self) -> None:
        if self.tls is not None and not self.url.lower().startswith("https:"):
            raise ValueError("expected `tls` only beside an https `url`")
