"""Wrong settings of `etcd` are said as such, all at once, before anything is opened."""

from __future__ import annotations

from typing import Any

import pytest

from flow_consensus.etcd import EtcdSettings
from flowcore.assembly import discover, read_config
from flowcore.config import ConfigError, Secret

PLUGINS = discover()


def wrong(**table: Any) -> list[str]:
    """What is said of a `[consensus]` table."""
    with pytest.raises(ConfigError) as refused:
        read_config({"consensus": {"type": "etcd", **table}}, PLUGINS)
    return [f"{one.path}: {one.message}" for one in refused.value.problems]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"endpoints": []}, "consensus.endpoints: expected 1 to 32 http or https URLs"),
        ({"endpoints": ["etcd:2379"]}, "expected an absolute http or https URL, not 'etcd:2379'"),
        (
            {"endpoints": ["http://a:1/x"]},
            "expected an endpoint without a path, not 'http://a:1/x'",
        ),
        ({"endpoints": ["http://a:1", "http://a:1"]}, "expected each endpoint once"),
        ({"endpoints": ["http://a:1", "https://b:1"]}, "all endpoints to be http, or all https"),
        ({"prefix": "flowcore"}, "ends with a slash"),
        ({"prefix": "/"}, "2 to 200 long"),
        ({"user": "flow"}, "expected user and password together"),
        ({"password": "flow"}, "a secret"),
        ({"tls": {}}, "expected tls only beside https endpoints"),
        (
            {"tls": {"cert": "c.pem"}, "endpoints": ["https://a:1"]},
            "expected cert and key together",
        ),
        ({"patience": "0s"}, "consensus.patience: expected more than"),
        ({"backoff": "3s"}, "expected backoff_most to be at least backoff"),
        ({"command_size": "1B"}, "consensus.command_size: expected"),
        ({"voters": ["a"]}, "consensus.voters: unknown key"),
    ],
)
def test_each_wrong_setting_is_said(table: dict[str, Any], said: str) -> None:
    problems = wrong(**table)
    assert len(problems) == 1
    assert said in problems[0], problems


def test_a_password_goes_over_https_or_stays_on_this_machine() -> None:
    secret: dict[str, Any] = {"user": "flow", "password": Secret("p")}
    with pytest.raises(
        ValueError, match="expected https endpoints where a password is sent beyond"
    ):
        EtcdSettings(endpoints=("http://etcd.example:2379",), **secret)
    for url in ("http://127.0.0.1:2379", "http://[::1]:2379", "http://localhost:2379"):
        EtcdSettings(endpoints=(url,), **secret)
    EtcdSettings(endpoints=("https://etcd.example:2379",), **secret)


def test_what_is_not_said_is_an_etcd_on_this_machine() -> None:
    config = read_config({"consensus": {"type": "etcd"}}, PLUGINS)
    assert config.consensus is not None
    assert config.consensus.config == EtcdSettings()  # type: ignore[union-attr]
    assert EtcdSettings().endpoints == ("http://127.0.0.1:2379",)
