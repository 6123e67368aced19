"""Sealed values in a configuration: opened where they stand, refused elsewhere, shown nowhere."""

from __future__ import annotations

import json
import pathlib
import traceback
from collections.abc import Callable

import pytest

from flowcore import open_flow
from flowcore.assembly import read
from flowcore.cli import flowctl, flowserve
from flowcore.config import ConfigError, show
from flowcore.secrets import new_seal_key, read_seal_keys, seal

CANARY = "canary-93ab-sealed-secret-of-32-bytes"
SETTING = "auth.idp.secret"
CONFIG = """
[node]
seal_key = {{ file = "seal.key" }}

[auth.idp]
type = "jwt"
issuer = "https://issuer.example"
secret = {{ sealed = "{}" }}

[edge.api]
type = "api"
bind = "127.0.0.1:0"
auth = ["idp"]
"""


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    keep(tmp_path / "seal.key", new_seal_key())
    return tmp_path


def keep(path: pathlib.Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text + "\n")
    path.chmod(mode)


def written(folder: pathlib.Path, sealed: str, text: str = CONFIG) -> pathlib.Path:
    path = folder / "flow.toml"
    path.write_text(text.format(sealed))
    return path


def sealed(folder: pathlib.Path, secret: str = CANARY, setting: str = SETTING) -> str:
    return seal(secret, setting, read_seal_keys((folder / "seal.key").read_text()))


def test_a_sealed_value_is_the_secret_and_is_shown_nowhere(folder: pathlib.Path) -> None:
    value = sealed(folder)
    config = read(written(folder, value)).config
    assert config.auth["idp"].config.secret.reveal() == CANARY
    shown = show(config)
    assert 'secret = { sealed = "***" }' in shown
    for text in (shown, repr(config), str(config)):
        assert CANARY not in text
        assert value not in text
        assert (folder / "seal.key").read_text().strip() not in text


def test_the_key_may_come_by_the_environment(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = CONFIG.replace('seal_key = {{ file = "seal.key" }}', "")
    path = written(folder, sealed(folder), text)
    with pytest.raises(ConfigError, match=r"nothing opens it: set \[node\] seal_key, or FLOW_SEAL"):
        read(path)
    monkeypatch.setenv("FLOW_SEAL_KEY", (folder / "seal.key").read_text())
    assert read(path).config.auth["idp"].config.secret.reveal() == CANARY
    monkeypatch.setenv("FLOW_SEAL_KEY", "no key")
    with pytest.raises(ConfigError, match="'FLOW_SEAL_KEY': expected seal keys"):
        read(path)


async def test_it_works_wherever_a_secret_may_stand(folder: pathlib.Path) -> None:
    """In a table of environment variables, whose key needs quotes, of a process that is then started."""
    setting = 'agent.shell.env."A.B"'
    text = """
        [node]
        seal_key = {{ file = "seal.key" }}
        data_dir = "data"
        [agent.shell]
        type = "process"
        command = ["sh", "-c", "true"]
        env = {{ "A.B" = {{ sealed = "{}" }} }}
    """
    made = read(written(folder, sealed(folder, setting=setting), text))
    assert made.config.agent["shell"].config.env["A.B"].reveal() == CANARY
    async with open_flow(folder / "flow.toml") as flow:
        assert CANARY not in json.dumps(flow.status())


WRONG: dict[str, tuple[Callable[[pathlib.Path], str], str]] = {
    "cut": (lambda folder: sealed(folder)[:-8], "the sealed value was changed"),
    "too short": (lambda folder: sealed(folder)[:40], "too short"),
    "no base64": (lambda folder: "%" + sealed(folder), "not base64"),
    "moved": (
        lambda folder: sealed(folder, setting="auth.other.secret"),
        "sealed for another setting; seal it again: flowctl seal --key FILE auth.idp.secret",
    ),
    "another key": (
        lambda folder: seal(CANARY, SETTING, read_seal_keys(new_seal_key())),
        "sealed with another key",
    ),
    "too short a secret": (lambda folder: sealed(folder, "short"), "at least 32 bytes"),
    "a sample": (lambda folder: sealed(folder, "changeme"), "a sample that everybody knows"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_open_is_said_with_its_line_when_the_file_is_checked(
    folder: pathlib.Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made, says = WRONG[case]
    path = written(folder, made(folder))
    assert flowserve.run(["--check-config", "--config", str(path)]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.startswith(f"{path}:{5 if 'a secret' in case else 8}: auth.idp")
    assert CANARY not in said


@pytest.mark.parametrize(
    ("key", "mode", "says"),
    [
        (None, 0o644, "node.seal_key: the secret file .*mode 0644.; chmod it to 600"),
        ("no key", 0o600, "node.seal_key: expected"),
    ],
)
def test_a_seal_key_that_cannot_be_used_is_named(
    folder: pathlib.Path, key: str | None, mode: int, says: str
) -> None:
    path = written(folder, sealed(folder))
    keep(folder / "seal.key", key or new_seal_key(), mode)
    with pytest.raises(ConfigError, match=says) as caught:
        read(path)
    assert "auth.idp.secret: the value is sealed, and the key that opens it" in str(caught.value)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_the_seal_key_is_not_sealed_itself(folder: pathlib.Path) -> None:
    value = sealed(folder, new_seal_key(), "node.seal_key")
    with pytest.raises(ConfigError, match="cannot be sealed itself"):
        read({"node": {"seal_key": {"sealed": value}}})


def test_a_misspelt_source_is_said_with_the_one_that_was_meant(folder: pathlib.Path) -> None:
    path = written(folder, "x", CONFIG.replace("sealed", "seald"))
    with pytest.raises(ConfigError, match="'seald', did you mean 'sealed'"):
        read(path)


# ---- flowctl seal


def ctl(*words: str) -> int:
    return flowctl.run(["seal", *words])


def given(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_flowctl_makes_a_key_and_seals_what_the_node_then_opens(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "seal.key"
    assert ctl("--new-key", str(key)) == 0
    assert key.stat().st_mode & 0o777 == 0o600
    assert ctl("--new-key", str(key)) == 1
    assert "exists; for one key more" in capsys.readouterr().err
    given(monkeypatch, CANARY + "\n")
    assert ctl("--key", str(key), SETTING) == 0
    shown = capsys.readouterr()
    assert CANARY not in shown.out + shown.err
    path = tmp_path / "flow.toml"
    path.write_text(
        CONFIG.format("").replace('{ sealed = "" }', shown.out.strip())  # as it is printed
    )
    assert read(path).config.auth["idp"].config.secret.reveal() == CANARY

    # another key seals from now on; the file is sealed again with it, and then needs the old one no more
    old = key.read_text()
    assert ctl("--add-key", str(key)) == 0
    assert read(path).config.auth["idp"].config.secret.reveal() == CANARY
    before = path.read_text()
    assert ctl("--key", str(key), "--again", str(path)) == 0
    assert path.read_text() != before
    keep(key, key.read_text().splitlines()[0])
    assert old.strip() not in key.read_text()
    assert read(path).config.auth["idp"].config.secret.reveal() == CANARY


def test_flowctl_seal_says_what_is_wrong(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "seal.key"
    keep(key, new_seal_key())
    open_key = tmp_path / "open.key"
    keep(open_key, new_seal_key(), 0o640)
    for words, secret, code, says in (
        ((), "x", 2, "seal needs one of"),
        ((SETTING,), "x", 2, "seal needs --key FILE, or the key in $FLOW_SEAL_KEY"),
        (("--key", str(open_key), SETTING), "x", 1, "chmod it to 600"),
        (("--key", str(tmp_path / "none"), SETTING), "x", 1, "No such file"),
        (("--key", str(key), SETTING), "", 1, "there is no secret on standard input"),
        (("--key", str(key), SETTING), "changeme\n", 1, "a sample that everybody knows"),
        (("--key", str(key), "not a setting"), "x", 2, "expected a setting such as"),
        (("--new-key", str(tmp_path / "a" / "b")), "", 1, "No such file"),
        (("--key", str(key), "--again", str(tmp_path / "none.toml")), "", 1, "cannot be read"),
    ):
        given(monkeypatch, secret)
        assert ctl(*words) == code, words
        assert says in capsys.readouterr().err


def test_a_value_that_does_not_open_is_not_sealed_again(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(folder, seal(CANARY, SETTING, read_seal_keys(new_seal_key())))
    before = path.read_text()
    assert ctl("--key", str(folder / "seal.key"), "--again", str(path)) == 1
    assert "auth.idp.secret: the value is sealed with another key" in capsys.readouterr().err
    assert path.read_text() == before
