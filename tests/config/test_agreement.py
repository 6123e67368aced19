"""The JSON schema and the reader agree, and what is shown is what was read."""

from __future__ import annotations

import copy
import pathlib
import shutil
from typing import Any, Literal

import attrs
import jsonschema
import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from flowcore.assembly import FlowConfig, discover, listing, read_config
from flowcore.cli import flowctl
from flowcore.config import (
    ConfigError,
    Selection,
    differences,
    json_schema,
    load,
    selection,
    setting,
    show,
    structure,
)
from flowcore.config import validators as v

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLUGINS = discover()
SCHEMA = jsonschema.Draft202012Validator(json_schema(FlowConfig, listing(PLUGINS.registry)))


@attrs.frozen(kw_only=True)
class Small:
    count: int = setting(1, validator=v.in_range(0, 3), help="a number")


@attrs.frozen(kw_only=True)
class Needy:
    name: str = setting(validator=v.matches("[ab]+"), help="a name")


@attrs.frozen(kw_only=True)
class Shared:
    mode: Literal["a", "b"] = setting("a", help="a mode")


@attrs.frozen(kw_only=True)
class Expressible:
    """Only what a JSON schema can say as well."""

    flag: bool = setting(False, help="yes or no")
    text: str = setting("x", validator=v.non_empty(), help="a text")
    share: float = setting(0.5, validator=v.lt(2), help="a part")
    list: tuple[int, ...] = setting((), validator=v.each(v.ge(0)), help="numbers")
    either: int | str | None = setting(None, help="one or the other")
    small: Small | None = setting(None, help="a table")
    many: dict[str, Small] = setting(factory=dict, help="tables")
    part: Selection = selection("part", "small", common=Shared, help="a component")
    parts: dict[str, Selection] = selection("part", many=True, help="components")


TYPES: dict[str, type] = {"small": Small, "needy": Needy}


class Parts:
    def lookup(self, kind: str, type_: str) -> type | None:
        return TYPES.get(type_) if kind == "part" else None

    def known(self, kind: str) -> tuple[str, ...]:
        return tuple(TYPES) if kind == "part" else ()

    def note(self, kind: str, type_: str) -> str | None:
        del kind, type_
        return None


VALUES = st.recursive(
    st.sampled_from(["", "a", "b", "c", "small", "needy", -1, 0, 2, 4, 0.5, 2.5, True]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["type", "count", "name", "mode", "x"]), inner, max_size=3
        )
    ),
    max_leaves=4,
)
NAMES = st.sampled_from([field.name for field in attrs.fields(Expressible)] + ["nope"])


@given(st.dictionaries(NAMES, VALUES, max_size=3))
def test_the_schema_takes_exactly_what_is_read(tree: dict[str, Any]) -> None:
    schema = json_schema(Expressible, {"part": TYPES})
    taken = jsonschema.Draft202012Validator(schema).is_valid(tree)
    try:
        config = structure(load(tree), Expressible, Parts())
    except ConfigError as error:
        assert not taken, str(error)
    else:
        assert taken
        assert structure(load(show(config)), Expressible, Parts()) == config


FULL: dict[str, Any] = {
    "node": {"name": "n", "drain": "5s", "seed": 1},
    "log": {"level": "debug"},
    "requests": {"task_bytes": "1MiB", "retry": {"budget": 0.1}},
    "agent": {
        "p": {"type": "python", "target": "x:y", "pool": {"min": 1, "max": 2}, "roles": ["r"]},
        "m": {"type": "mcp", "command": ["x"], "env": {"A": "b"}, "balancer": "peak_ewma"},
        "h": {
            "type": "http",
            "url": "http://127.0.0.1:1",
            "tools": {"get": {"path": "/{id}", "body": None}},
            "balancer": {"type": "consistent_hash", "points": 8},
        },
    },
    "edge": {
        "mcp": {"type": "mcp", "bind": "127.0.0.1:7300", "sessions": {"max": 3}},
        "api": {"type": "api", "limits": {"head": "1KiB"}},
    },
}
del FULL["agent"]["h"]["tools"]["get"]["body"]


def places(tree: dict[str, Any]) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for key, value in tree.items():
        found.append((key,))
        if isinstance(value, dict):
            found += [(key, *inner) for inner in places(value)]
    return found


@given(
    st.lists(
        st.tuples(
            st.sampled_from(places(FULL)),
            st.sampled_from(
                ["", "1s", "1KiB", "a:1", "mcp", 0, 7, 0.5, True, [], ["x"], {}, {"type": "api"}]
            ),
            st.booleans(),
        ),
        max_size=3,
    )
)
def test_a_changed_configuration_is_read_and_shown_again_or_reported(
    changes: list[tuple[tuple[str, ...], Any, bool]],
) -> None:
    tree = copy.deepcopy(FULL)
    for path, value, misspelt in changes:
        node: Any = tree
        for key in path[:-1]:
            node = node.get(key) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node[path[-1] + "x" * misspelt] = value
    try:
        config = read_config(tree, PLUGINS)
    except ConfigError as error:
        assert all(one.message for one in error.problems)
        return
    assert SCHEMA.is_valid(tree)
    again = read_config(show(config), PLUGINS)
    assert again == config
    assert list(differences(config, again)) == []


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The configurations that ship, beside the certificates that some want."""
    folder = tmp_path_factory.mktemp("shipped")
    shutil.copytree(ROOT / "configs", folder / "configs", ignore=shutil.ignore_patterns("certs"))
    assert flowctl.run(["certs", "init", "--dir", str(folder / "certs")]) == 0
    nodes = ["--dir", str(folder / "configs" / "cluster" / "certs")]
    assert flowctl.run(["certs", "cluster", "alpha", "beta", "gamma", "delta", *nodes]) == 0
    return folder / "configs"


@pytest.mark.parametrize(
    "name",
    sorted(str(path.relative_to(ROOT / "configs")) for path in ROOT.glob("configs/**/*.toml")),
)
def test_each_configuration_that_ships_fits_the_schema_and_reads_back(
    shipped: pathlib.Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shipped / name
    monkeypatch.chdir(path.parent)  # what has no file is relative to here
    SCHEMA.validate(tomli.loads(path.read_text()))
    config = read_config(path, PLUGINS)
    assert read_config(show(config), PLUGINS) == config


def test_the_schema_is_a_schema_and_takes_no_secret_in_the_clear() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA.schema)
    agent = {"type": "python", "target": "x:y"}
    assert SCHEMA.is_valid({"agent": {"a": {**agent, "state_key": {"env": "KEY"}}}})
    assert not SCHEMA.is_valid({"agent": {"a": {**agent, "state_key": "text"}}})
