"""`flowctl keys`: a ring's file is changed in one step, keeps what a person wrote, and shows no secret."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pathlib
import re
import stat
import threading
import time
from datetime import UTC, datetime

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowcore.cli.flowctl import run
from flowcore.cli.keys import when
from flowcore.signing import (
    Key,
    KeyRing,
    new_key,
    read_ring,
    with_end,
    with_keys,
    with_revoked,
    without,
)

SECRET = base64.b64encode(hashlib.sha256(b"of test_keys").digest()).decode()
BY_HAND = f"""\
# Our ring. Ask Ann before you change it.

[[key]]            # the first one
id = "old"
principal = "billing"
secret = "{SECRET}"   # of last year
  not_after = 2030-01-01T00:00:00Z

# of somebody else
[[ key ]]
"id" = 'other'
principal = "crm"
roles = [
  "service",   # [[key]]
]
secret = "{SECRET}"
"""


@pytest.fixture
def ring(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "ring.toml"
    path.touch(0o600)
    path.write_text(BY_HAND)
    return path


def ring_of(path: pathlib.Path) -> dict[str, Key]:
    return {one.id: one for one in read_ring(path.read_bytes())}


def test_a_new_ring_is_made_for_its_owner_only(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, client = tmp_path / "ring.toml", tmp_path / "client.toml"
    before = time.time()
    command = ["keys", "new", str(path), "billing", "--role", "a", "--role", "b", "--scope", "s"]
    assert run([*command, "--copy", str(client), "--not-after", "36h"]) == 0
    [key] = read_ring(path.read_bytes())
    assert key.principal == "billing"
    assert (sorted(key.roles), sorted(key.scopes)) == (["a", "b"], ["s"])
    assert len(key.secret) == 32
    assert key.id == f"billing-{datetime.now(UTC):%Y-%m-%d}" or key.not_before < before
    assert int(before) <= key.not_before <= time.time()
    assert key.not_after == pytest.approx(before + 36 * 3600, abs=60)
    assert client.read_bytes() == path.read_bytes()
    for one in (path, client):
        assert stat.S_IMODE(one.stat().st_mode) == 0o600
    said = capsys.readouterr()
    assert base64.b64encode(key.secret).decode() not in said.out + said.err
    assert run(["keys", "new", str(path), "billing"]) == 0
    assert [one.removeprefix(key.id) for one in ring_of(path)] in (["", ".2"], ["", key.id])
    assert sorted(os.listdir(tmp_path)) == ["client.toml", "ring.toml"]


def test_what_a_person_wrote_stays(ring: pathlib.Path) -> None:
    assert run(["keys", "revoke", str(ring), "other"]) == 0
    assert ring.read_text() == f"{BY_HAND}revoked = true\n"
    assert run(["keys", "retire", str(ring), "old", "--at", "2029-06-01T12:00:00+02:00"]) == 0
    text = ring.read_text()
    assert text == BY_HAND.replace(
        "  not_after = 2030-01-01T00:00:00Z\n", "not_after = 2029-06-01T10:00:00Z\n"
    ) + ("revoked = true\n")
    assert run(["keys", "prune", str(ring)]) == 0
    assert ring.read_text() == text.partition("[[ key ]]")[0]


def test_a_rotation_gives_each_principal_a_new_key_and_the_old_ones_an_end(
    ring: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    now = time.time()
    client = tmp_path / "client.toml"
    command = ["keys", "rotate", str(ring), "--overlap", "2h", "--begin", "10m"]
    assert run([*command, "--copy", str(client)]) == 0
    keys = ring_of(ring)
    old, other, billing, crm = keys.values()
    begin, end = now + 600, now + 600 + 7200
    assert old.not_after == pytest.approx(end, abs=60)
    assert other.not_after == pytest.approx(end, abs=60)
    assert (billing.principal, crm.principal) == ("billing", "crm")
    assert crm.roles == other.roles == {"service"}
    assert billing.not_before == crm.not_before == pytest.approx(begin, abs=60)
    assert list(ring_of(client).values()) == [billing, crm]
    whole = KeyRing([old, billing])
    assert whole.newest(now) == old  # nobody signs with the new one before the node knows it
    assert whole.newest(begin + 61) == billing
    assert run(["keys", "rotate", str(ring), "crm", "--begin", "0s"]) == 0
    assert [one.principal for one in ring_of(ring).values()][4:] == ["crm"]
    assert ring_of(ring)["old"].not_after == old.not_after  # it ended sooner already


def test_keys_are_listed_without_their_secrets(
    ring: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["keys", "new", str(ring), "late", "--id", "late", "--not-before", "2035-01-01T00:00:00Z"])
    run(["keys", "retire", str(ring), "other"])
    capsys.readouterr()
    assert run(["keys", "list", str(ring)]) == 0
    said = capsys.readouterr().out
    assert SECRET not in said
    rows = [re.split(r"\s{2,}", line.strip()) for line in said.splitlines()]
    assert rows[1] == ["old", "billing", "active", "2030-01-01T00:00:00Z"]
    assert rows[2][:3] == ["other", "crm", "ended"]
    assert rows[3] == ["late", "late", "to come", "2035-01-01T00:00:00Z"]
    assert run(["--json", "keys", "list", str(ring)]) == 0
    listed = json.loads(capsys.readouterr().out)["keys"]
    assert [one["state"] for one in listed] == ["active", "ended", "to come"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("revoke", "RING", "none"), "has no key 'none' (known: old, other)"),
        (("new", "RING", "x", "--id", "old"), "two keys have the id 'old'"),
        (("new", "RING", "x", "--id", "../x"), "expected a key id of letters"),
        (("new", "RING", "x\n"), "expected the name of a principal"),
        (
            ("new", "RING", "x", "--not-before", "2h", "--not-after", "1h"),
            "not_before to be before",
        ),
        (("rotate", "RING", "nobody"), "no key of nobody is active"),
        (("list", "NONE"), "cannot be read: No such file"),
        (("new", "RING", "x", "--copy", "OPEN"), "OPEN: can be read by others"),
        (("list", "OPEN"), "can be read by others (mode 0644); chmod it to 600"),
    ],
)
def test_what_cannot_be_changes_nothing(
    ring: pathlib.Path,
    arguments: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ring.parent)
    (ring.parent / "OPEN").write_text(BY_HAND)
    (ring.parent / "OPEN").chmod(0o644)
    words = [str(ring) if one == "RING" else one for one in arguments]
    assert run(["keys", *words]) == 1
    assert message in capsys.readouterr().err
    assert ring.read_text() == BY_HAND


@pytest.mark.parametrize(
    "words", [("retire", "old", "--at", "soon"), ("retire", "old", "--at", "2029-01-01T00:00:00")]
)
def test_a_time_needs_a_zone_or_a_unit(
    ring: pathlib.Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["keys", words[0], str(ring), *words[1:]]) == 2
    assert "expected a time with its zone" in capsys.readouterr().err


def test_a_time_may_be_one_from_now() -> None:
    assert when("1h30m", 100.0) == 5500.0
    assert when("1970-01-01T01:00:00+01:00", 100.0) == 0.0


def test_a_form_that_is_not_understood_is_refused(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ring.toml"
    path.touch(0o600)
    text = f'key = [{{ id = "a", principal = "b", secret = "{SECRET}" }}]\n'
    path.write_text(text)
    assert run(["keys", "revoke", str(path), "a"]) == 1
    assert "a form that is not changed here" in capsys.readouterr().err
    assert path.read_text() == text


def test_the_last_key_is_not_taken_out(
    ring: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["keys", "revoke", str(ring), "old", "other"]) == 0
    assert run(["keys", "prune", str(ring)]) == 1
    assert "would have no key left" in capsys.readouterr().err


def test_a_link_stays_one(ring: pathlib.Path, tmp_path: pathlib.Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(ring)
    assert run(["keys", "revoke", str(link), "old"]) == 0
    assert link.is_symlink()
    assert ring_of(ring)["old"].revoked


def test_many_at_once_lose_nothing(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "ring.toml"

    def make(number: int) -> None:
        for turn in range(5):
            assert run(["keys", "new", str(path), f"p{number}", "--id", f"k{number}.{turn}"]) == 0

    threads = [threading.Thread(target=make, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ring_of(path)) == 30


TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
KEYS = st.builds(
    lambda principal, roles, scopes, begin, length: new_key(
        (),
        principal,
        1.8e9,
        roles=roles,
        scopes=scopes,
        not_before=begin,
        not_after=begin + length,
    ),
    TEXTS.filter(lambda text: text.isprintable() and text),
    st.sets(TEXTS, max_size=3),
    st.sets(TEXTS, max_size=3),
    st.floats(0, 4e9).map(lambda moment: round(moment, 3)),
    st.sampled_from([1.0, 86400.0, float("inf")]),
)


@given(st.lists(KEYS, min_size=1, max_size=4), st.data())
def test_whatever_keys_are_written_is_read_again(made: list[Key], data: st.DataObject) -> None:
    keys = [attrs.evolve(one, id=f"k{number}") for number, one in enumerate(made)]
    text = with_keys("# a comment\n", keys[:1])
    text = with_keys(text, keys[1:]) if keys[1:] else text
    assert list(read_ring(text.encode())) == keys
    chosen = data.draw(st.sampled_from(keys))
    assert read_ring(with_revoked(text, [chosen.id]).encode()).find(chosen.id, 2e9) is None
    end = chosen.not_before + 5
    ended = read_ring(with_end(text, [chosen.id], end).encode())
    assert ended.find(chosen.id, chosen.not_before + 5) is None
    if len(keys) > 1:
        left = list(read_ring(without(text, [chosen.id]).encode()))
        assert left == [one for one in keys if one != chosen]
    assert text.startswith("# a comment\n")
