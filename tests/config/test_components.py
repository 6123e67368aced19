"""Components chosen by type, names that refer to them, and what is said of a wrong one."""

from __future__ import annotations

import enum
import pathlib
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs
import jsonschema
import pytest
import tomli

from flowcore.config import (
    Address,
    ConfigError,
    Duration,
    Secret,
    Selection,
    Size,
    attempt,
    check_class,
    differences,
    json_schema,
    load,
    reference,
    reference_markdown,
    references,
    selection,
    setting,
    settings_table,
    show,
    structure,
)
from flowcore.config import validators as v

CANARY = "canary-b1d5-secret"


@attrs.frozen(kw_only=True)
class Mesh:
    """Everyone is linked to everyone."""


@attrs.frozen(kw_only=True)
class Ring:
    """Each node is linked to the next ones."""

    successors: int = setting(2, validator=v.ge(1), help="next nodes", reloadable=True)


@attrs.frozen(kw_only=True)
class Token:
    """One shared token."""

    token: Secret = setting(help="the token")


@attrs.frozen(kw_only=True)
class Echo:
    """Says what it is told."""

    volume: float = setting(1.0, help="how loud")
    loudness: Literal["low", "high"] = setting("low", help="low or high")


@attrs.frozen(kw_only=True)
class Common:
    roles: tuple[str, ...] = setting((), help="roles")
    balancer: Selection = selection("topology", "mesh", help="how it is linked")
    labels: dict[str, str] = setting(factory=dict, help="labels", reloadable=True)


@attrs.frozen(kw_only=True)
class Http:
    """An edge."""

    bind: Address = setting(Address("127.0.0.1", 1), help="where to listen")
    auth: tuple[str, ...] = reference("auth", (), help="who may enter")
    main: str | None = reference("agent", None, help="the agent in front")


@attrs.frozen(kw_only=True)
class Clash:
    roles: int = setting(1, help="a name that every agent has")


@attrs.frozen(kw_only=True)
class Typed:
    type: str = setting("x", help="a name that is taken")


@attrs.frozen(kw_only=True)
class Unwritable:
    number: complex = setting(1j, help="no TOML form")


@attrs.frozen(kw_only=True)
class Peer:
    host: Address = setting(help="where it is")
    wait: Duration = setting(1.0, validator=v.in_range(0.5, 90), help="how long")


@attrs.frozen(kw_only=True)
class Root:
    size: Size = setting(1 << 20, validator=v.le(1 << 30), help="a size at the root")
    topology: Selection = selection("topology", "mesh", help="who is linked to whom")
    peers: tuple[Peer, ...] = setting((), help="other nodes")
    places: dict[str, Peer] = setting(factory=dict, help="nodes by name")
    first: Peer | None = setting(None, help="the first node")
    agent: dict[str, Selection] = selection("agent", many=True, common=Common, help="agents")
    edge: dict[str, Selection] = selection("edge", many=True, help="edges")
    auth: dict[str, Selection] = selection("auth", many=True, help="who may enter")


LISTING: Mapping[str, Mapping[str, type]] = {
    "topology": {"mesh": Mesh, "ring": Ring},
    "agent": {"echo": Echo},
    "edge": {"http": Http},
    "auth": {"token": Token},
}
BAD = {"clash": Clash, "typed": Typed, "unwritable": Unwritable}


class Known:
    """A lookup over the classes above; agents also have types that no plugin should offer."""

    def lookup(self, kind: str, type_: str) -> type | None:
        return LISTING.get(kind, {}).get(type_) or (BAD.get(type_) if kind == "agent" else None)

    def known(self, kind: str) -> Sequence[str]:
        return sorted(LISTING.get(kind, {}))

    def note(self, kind: str, type_: str) -> str | None:
        del type_
        return "plugin 'bad' could not be loaded: ImportError: no" if kind == "edge" else None


def read(source: pathlib.Path | Mapping[str, Any] | str, *overrides: str) -> Root:
    return structure(load(source, overrides=overrides), Root, Known())


def report(source: pathlib.Path | Mapping[str, Any] | str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as raised:
        read(source, *overrides)
    return str(raised.value)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TOKEN", CANARY)
    return """
size = "2MiB"
topology = { type = "ring", successors = 3 }
peers = [{ host = "a:1" }, { host = "b:2", wait = "1m" }]
places = { "far away" = { host = "c:3" } }
[first]
host = "[::1]:4"
[agent.one]
type = "echo"
volume = 2
roles = ["x"]
balancer = "ring"
labels = { a = "b" }
[agent."two three"]
type = "echo"
[edge.e]
type = "http"
auth = ["t"]
main = "one"
[auth.t]
type = "token"
token = { env = "TOKEN" }
"""


def test_a_component_has_its_own_settings_and_the_common_ones(full: str) -> None:
    config = read(full)
    one = config.agent["one"]
    assert (one.kind, one.type, one.name, one.path) == ("agent", "echo", "one", "agent.one")
    assert one.where.line == 8
    assert one.config == Echo(volume=2.0)
    assert one.common.roles == ("x",)
    assert one.common.balancer.config == Ring()
    assert one.common.balancer.path == "agent.one.balancer"
    assert config.agent["two three"].path == 'agent."two three"'
    assert config.agent["two three"].common.balancer.config == Mesh()
    assert config.topology.config == Ring(successors=3)
    assert config.topology.common is None
    assert list(references(config.edge["e"].config)) == [("auth", "t"), ("agent", "one")]


def test_what_is_shown_reads_back_as_the_same(full: str) -> None:
    config = read(full)
    text = show(config)
    assert read(text) == config
    assert show(read(text)) == text


def test_a_secret_is_in_nothing_that_is_shown(full: str) -> None:
    config = read(full)
    assert config.auth["t"].config.token.reveal() == CANARY
    shown = [
        show(config),
        repr(config),
        str(config.auth["t"]),
        repr(load(full)),
        str(json_schema(Root, LISTING)),
        reference_markdown(Root, LISTING),
    ]
    assert all(CANARY not in text for text in shown)


def test_a_secret_is_in_no_problem_and_no_traceback() -> None:
    wrong = [
        f'[auth.t]\ntype = "token"\ntoken = "{CANARY}"\n',
        f'[auth.t]\ntype = "token"\ntoken = ["{CANARY}"]\n',
        f'[auth.t]\ntype = "token"\ntoken = {{ value = "{CANARY}" }}\n',
        f'[auth.t]\ntype = "token"\ntoken = {{ env = "A", file = "{CANARY}" }}\n',
        f'[auth.t]\ntype = "token"\ntokn = "{CANARY}"\n',
    ]
    for text in wrong:
        with pytest.raises(ConfigError) as raised:
            read(text)
        assert CANARY not in "".join(traceback.format_exception(raised.value))
        assert CANARY not in repr(raised.value.problems)
    said = report("", f"auth.t.token={CANARY}", "auth.t.type=token")
    assert said == (
        "--set auth.t.token: a secret is not written in the file:"
        ' expected { env = "VARIABLE" }, { file = "path" } or { sealed = "BASE64" }'
    )


def test_a_program_may_hand_over_a_secret_it_holds() -> None:
    config = read({"auth": {"t": {"type": "token", "token": Secret(CANARY)}}})
    assert config.auth["t"].config.token.reveal() == CANARY
    assert 'token = "***"' in show(config)


def test_all_problems_come_at_once_in_order_of_line() -> None:
    said = report("""size = "2GiB"
toplogy = "ring"
topology = "rign"
[[peers]]
host = "a:1"
[[peers]]
wait = "100ms"
[places.x]
host = "b:2"
waits = "2s"
[edge.e]
type = "htp"
[edge.f]
type = "http"
auth = ["tokens", 3]
main = 1
[auth.token]
type = "token"
""")
    assert (
        said
        == """\
<text>:1: size: expected at most 1GiB, not '2GiB'
<text>:2: toplogy: unknown key, did you mean 'topology'?\
 (known: agent, auth, edge, first, peers, places, size, topology)
<text>:3: topology: unknown topology type 'rign', did you mean 'ring'? (known: mesh, ring)
<text>:6: peers[1]: the key 'host' is missing: where it is
<text>:7: peers[1].wait: expected between 0.5s and 90s, not '100ms'
<text>:10: places.x.waits: unknown key, did you mean 'wait'? (known: host, wait)
<text>:12: edge.e.type: unknown edge type 'htp', did you mean 'http'? (known: http)\
; plugin 'bad' could not be loaded: ImportError: no
<text>:15: edge.f.auth[0]: there is no [auth.tokens], did you mean 'token'? (known: token)
<text>:15: edge.f.auth[1]: expected the name of an auth, not an integer
<text>:16: edge.f.main: expected the name of an agent, not an integer
<text>:17: auth.token: the key 'token' is missing: the token"""
    )


@pytest.mark.parametrize(
    ("type_", "says"),
    [
        ("clash", "the key 'roles' is in Common and in Clash"),
        ("typed", "the key 'type' of Typed is taken"),
        ("unwritable", "cannot have the annotation <class 'complex'>"),
    ],
)
def test_a_class_that_no_table_can_hold_is_a_problem_of_its_tables_alone(
    type_: str, says: str
) -> None:
    said = report({"agent": {"a": {"type": type_}}})
    assert said.startswith(f"agent.a: agent type {type_!r} cannot be configured: ")
    assert says in said


def test_a_choice_of_other_things_than_texts_is_no_setting() -> None:
    class Number(enum.Enum):
        ONE = 1

    @attrs.frozen(kw_only=True)
    class Options:
        number: Number = setting(Number.ONE, help="a number")

    Options.__annotations__["number"] = Number
    with pytest.raises(TypeError, match="a choice is written as a text"):
        check_class(Options)


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({7: 1}, "expected keys that are strings, not 7"),
        ({"agent": {7: {}}}, "agent: expected keys that are strings, not 7"),
        ({"size": None}, "not a Python NoneType"),
        ({"topology": ["mesh"]}, "topology: expected a type of topology, or a table with one"),
        ({"edge": {"e": {"type": "http", "main": "x"}}}, "there is no [agent.x] (known: none)"),
        ({"agent": 3, "edge": {"e": {"type": "http", "main": "x"}}}, "there is no [agent.x]"),
    ],
)
def test_a_mapping_is_checked_like_a_file(tree: dict[Any, Any], says: str) -> None:
    assert says in report(tree)


def test_the_place_of_an_overridden_value_is_the_override() -> None:
    text = '[first]\nhost = "a:1"\nwait = "1s"\n'
    assert report(text, 'first={ host = "a" }').startswith("--set first: first.host: expected")
    assert report(text, "first.wait=7").startswith("--set first.wait: expected")
    assert report(text, '"first"."x=y"=7').startswith('--set first."x=y": unknown key')


def test_an_override_is_one_value_and_nothing_more() -> None:
    assert "not 'a:1\\nx = 2'" in report("", "first.host=a:1\nx = 2")
    assert read("", "first.host= a:1 ").first == Peer(host=Address("a", 1))
    assert report("", "size=" + "[" * 5000).startswith("--set size: expected a size")
    assert report("", "size=" + "1" * 5000).startswith("--set size: expected a size")


def test_one_table_can_be_read_alone() -> None:
    document = load('[first]\nhost = "a:1"\n[edge]\nwrong = 1\n')
    made = attempt(document, Peer, Known(), at=("first",), table=document.tree["first"]).made
    assert made == Peer(host=Address("a", 1))
    tried = attempt(document, Peer, Known(), at=("second",), table={})
    assert tried.made is None
    assert "the key 'host' is missing" in str(tried.problems[0])


@pytest.mark.parametrize("name", ["flow.toml", "flow", " a b/flow.conf ", "C-3.TOML"])
def test_a_line_that_toml_cannot_be_is_a_files_name(name: str) -> None:
    assert report(name) == f"{name}: the file cannot be read: No such file or directory"


@pytest.mark.parametrize("text", ["", "  ", "# flow.toml", "[node]", "size = '1B'"])
def test_any_other_text_is_toml(text: str) -> None:
    assert load(text).source == "<text>"
    with pytest.raises(ConfigError, match="this is not TOML"):
        load(f"{text}\nflow.toml")


@pytest.mark.parametrize("source", [None, b"[node]", 3, ["flow.toml"]])
def test_what_is_no_configuration_is_refused(source: Any) -> None:
    with pytest.raises(
        TypeError, match="expected a configuration as a path, TOML text or a mapping"
    ):
        load(source)


def test_the_place_of_a_table_that_an_override_has_made_is_the_override() -> None:
    assert report("", "frist.host=a:1").startswith("--set frist.host: frist: unknown key")
    assert report("[first]\n", "second.x=1").startswith("--set second.x: ")


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_file_that_cannot_be_read_is_one_problem(tmp_path: pathlib.Path, name: str) -> None:
    said = report(tmp_path / name)
    assert said.startswith(f"{tmp_path / name}: the file cannot be read: ")


def test_a_byte_order_mark_is_no_part_of_a_configuration() -> None:
    assert read('\ufefftopology = "ring"').topology.type == "ring"


def test_differences_go_down_to_the_key_that_differs(full: str) -> None:
    old = read(full)
    new = read(
        full.replace("successors = 3", "successors = 4")
        .replace('labels = { a = "b" }', 'labels = { a = "c" }')
        .replace('[edge.e]\ntype = "http"', '[edge.e]\ntype = "http"\nbind = "127.0.0.1:2"')
        .replace('"[::1]:4"', '"[::1]:5"')
        .replace('balancer = "ring"', 'balancer = "mesh"')
        + '[agent."a b"]\ntype = "echo"\n'
    )
    assert dict(differences(old, new)) == {
        "topology.successors": True,
        "agent.one.labels.a": True,
        "agent.one.balancer": False,
        'agent."a b"': False,
        "edge.e.bind": False,
        "first.host": False,
    }


def test_the_schema_takes_what_is_read_and_refuses_what_is_not(full: str) -> None:
    validator = jsonschema.Draft202012Validator(json_schema(Root, LISTING))
    assert validator.is_valid(tomli.loads(full))
    wrong: list[dict[str, Any]] = [
        {"size": 1},
        {"size": "1 potato"},
        {"nope": 1},
        {"topology": "star"},
        {"topology": {"type": "mesh", "successors": 1}},
        {"topology": {"type": "ring", "successors": 0}},
        {"first": {}},
        {"first": {"host": "a"}},
        {"first": {"host": "a:1", "wait": 1}},
        {"peers": {"host": "a:1"}},
        {"places": {"a": "a:1"}},
        {"auth": {"t": "token"}},
        {"auth": {"t": {"type": "token", "token": CANARY}}},
        {"agent": {"a": {"type": "echo", "roles": "x"}}},
        {"agent": {"a": {"type": "echo", "loudness": "medium"}}},
        {"edge": {"e": {"type": "http", "main": 1}}},
    ]
    for tree in wrong:
        assert not validator.is_valid(tree), tree
        assert report(tree)


def test_the_reference_names_every_key_form_and_type(full: str) -> None:
    page = reference_markdown(Root, LISTING)
    headings = [line for line in page.splitlines() if line.startswith("#")]
    for heading in (
        "## `size`",
        "## `[topology]`",
        '### `[topology]` with `type = "ring"`',
        "## `[first]`",
        "## `[agent.NAME]`",
        '### `[agent.NAME.balancer]` with `type = "ring"`',
        '### `[agent.NAME]` with `type = "echo"`',
    ):
        assert heading in headings
    assert 'a size; default `"1MiB"`' in page
    assert "| `successors` | an integer | `2` | next nodes (reloadable) |" in page
    assert [row[0] for row in settings_table(Root)][:5] == [
        "size",
        "topology",
        "peers",
        "peers[].host",
        "peers[].wait",
    ]


def test_validators_say_what_they_expect() -> None:
    assert v.gt(0.5).words() == "more than 0.5"
    assert v.ge(1 << 20).words() == "at least 1048576"
    with pytest.raises(ValueError, match="expected one of 1, 2"):
        v.one_of(1, 2)(3)
    with pytest.raises(ValueError, match="expected more than 1"):
        v.each(v.gt(1))([2, 1])
    v.each(v.non_empty())(["a"])
