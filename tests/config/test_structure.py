"""From text to objects and back: lines, overrides, schema, reference, differences."""

from __future__ import annotations

import enum
import pathlib
from typing import Any, Literal

import attrs
import jsonschema
import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from flowcore.assembly import FlowConfig, discover, listing, read_config
from flowcore.config import (
    Address,
    ConfigError,
    Duration,
    NothingKnown,
    Secret,
    Size,
    differences,
    json_schema,
    load,
    reference_markdown,
    setting,
    settings_table,
    show,
    structure,
)
from flowcore.config import validators as v
from flowcore.config.lines import key_lines

PLUGINS = discover()
LISTING = listing(PLUGINS.registry)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@attrs.frozen(kw_only=True)
class Inner:
    count: int = setting(1, validator=v.in_range(0, 9), help="how many")
    share: float = setting(0.5, validator=v.lt(1), help="which part")


@attrs.frozen(kw_only=True)
class Everything:
    text: str = setting("x", validator=v.non_empty(), help="a text")
    flag: bool = setting(False, help="yes or no")
    colour: Colour = setting(Colour.RED, help="a colour")
    mode: Literal["a", "b"] = setting("a", help="a mode")
    time: Duration = setting(1.0, help="a time", reloadable=True)
    size: Size = setting(1024, validator=v.le(1 << 30), help="a size")
    bind: Address = setting(Address("127.0.0.1", 1), help="an address")
    path: pathlib.Path | None = setting(None, help="a path")
    key: Secret | None = setting(None, help="a secret")
    names: tuple[str, ...] = setting((), validator=v.each(v.matches("[a-z]+")), help="names")
    more: list[int] = setting(factory=list, help="numbers")
    table: dict[str, float] = setting(factory=dict, help="a table")
    either: int | str = setting(1, help="one or the other")
    anything: Any = setting(1, help="whatever")
    inner: Inner = setting(factory=Inner, help="an inner table")


def read(text: str) -> Everything:
    return structure(load(text), Everything, NothingKnown())


def test_every_shape_is_read_and_shown() -> None:
    text = """
text = "a\\"b\\\\c\\u0007ü"
flag = true
colour = "blue"
mode = "b"
time = "1m30s"
size = "16MiB"
bind = "[::1]:80"
path = "some/where"
names = ["a", "b"]
more = [1, 2]
table = { one = 1, "two three" = 2.5 }
either = "text"
anything = { deep = [1, { x = true }], when = "now" }
inner = { count = 3 }
"""
    first = read(text)
    assert first.colour is Colour.BLUE
    assert (first.time, first.size, first.inner.count) == (90.0, 16 << 20, 3)
    assert first.bind == Address("::1", 80)
    assert read(show(first)) == first


def test_a_secret_is_shown_as_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "canary-in-show")
    config = read('key = { env = "KEY" }')
    assert 'key = { env = "KEY" }' in show(config)
    assert "canary" not in show(config) + repr(config)


@given(
    st.dictionaries(
        st.sampled_from(
            ["text", "flag", "mode", "time", "size", "more", "inner", "nope", "either"]
        ),
        st.one_of(
            st.text(max_size=5),
            st.integers(-5, 20),
            st.booleans(),
            st.floats(allow_nan=False, allow_infinity=False),
            st.lists(st.integers(0, 3), max_size=2),
            st.fixed_dictionaries({"count": st.integers(-2, 12)}),
            st.sampled_from(["5s", "1KiB", "a", "b"]),
        ),
        max_size=4,
    )
)
def test_what_the_schema_refuses_is_refused(tree: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(json_schema(Everything, {}))
    try:
        structure(load(tree), Everything, NothingKnown())
    except ConfigError:
        return  # the schema need not know all of it, such as the form of a duration
    integral = any(isinstance(value, float) for value in tree.values())
    assert integral or validator.is_valid(tree)


@given(st.text(max_size=200))
def test_any_text_is_a_configuration_or_a_report(text: str) -> None:
    try:
        structure(load(text), FlowConfig, PLUGINS.registry)
    except ConfigError as error:
        assert error.problems
        assert str(error)


KEYS = st.from_regex(r"[a-z]{1,3}", fullmatch=True)
TREES = st.recursive(
    st.one_of(st.integers(), st.text(max_size=8), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)


def written(value: Any) -> str:
    """A value as TOML, arrays over several lines."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(char):08X}" for char in value) + '"'
    if isinstance(value, list):
        return "[\n" + "".join(f"{written(one)}, # ] }}\n" for one in value) + "]"
    return "{" + ", ".join(f"{key} = {written(one)}" for key, one in value.items()) + "}"


def paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        for key, one in value.items():
            found += paths(one, (*path, key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            found += paths(one, (*path, index))
    return found


@given(st.dictionaries(KEYS, TREES, max_size=4))
def test_every_key_of_a_valid_text_has_a_line_that_holds_it(tree: dict[str, Any]) -> None:
    text = "".join(f"{key} = {written(value)}\n" for key, value in tree.items())
    assert tomli.loads(text) == tree
    lines = key_lines(text)
    assert set(lines) == set(paths(tree))
    rows = text.splitlines()
    for path, line in lines.items():
        if isinstance(path[-1], str):
            assert f"{path[-1]} =" in rows[line - 1]


def test_lines_of_arrays_of_tables() -> None:
    text = '[[a.b]]\nx = 1\n[[a.b]]\nx = 2\n[a.b.c]\ny = 3\n["q.r"]\nz.w = """\n\n"""\nv = 1\n'
    assert key_lines(text) == {
        ("a",): 1,
        ("a", "b"): 1,
        ("a", "b", 0): 1,
        ("a", "b", 0, "x"): 2,
        ("a", "b", 1): 3,
        ("a", "b", 1, "x"): 4,
        ("a", "b", 1, "c"): 5,
        ("a", "b", 1, "c", "y"): 6,
        ("q.r",): 7,
        ("q.r", "z"): 8,
        ("q.r", "z", "w"): 8,
        ("q.r", "v"): 11,
    }


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["x"], "expected key=value"),
        (["=1"], "expected key=value"),
        (["a b=1"], "is no dotted key"),
        (["#x=1"], "is no dotted key"),
        (["[a]\nb=1"], "is no dotted key"),
        (["text.deep=1"], "there is a plain value on the way"),
        (["colour=green"], "unknown value 'green'"),
        (["flag=1"], "expected true or false, not an integer"),
    ],
)
def test_a_wrong_override_is_named(overrides: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        structure(load('text = "a"', overrides=overrides), Everything, NothingKnown())
    assert str(raised.value).startswith("--set ")


def test_overrides_are_toml_values_or_text() -> None:
    document = load("", overrides=["inner.count=4", "text=plain", "names=['a']", 'mode="b"'])
    config = structure(document, Everything, NothingKnown())
    assert (config.inner.count, config.text, config.names, config.mode) == (4, "plain", ("a",), "b")


def test_the_reference_and_the_schema_hold_every_key() -> None:
    page = reference_markdown(FlowConfig, LISTING)
    for kind in LISTING.values():
        for cls in kind.values():
            for key, _, _, meaning in settings_table(cls):
                assert f"`{key}`" in page
                assert meaning in page
    schema = json_schema(FlowConfig, LISTING)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert set(schema["properties"]) == {field.name for field in attrs.fields(FlowConfig)}


def test_differences_say_what_can_be_reloaded() -> None:
    old = read_config('[node]\nname = "a"\n[agent.x]\ntype = "python"\ntarget = "a:b"\n', PLUGINS)
    new = read_config(
        '[node]\nname = "b"\ndrain = "1s"\n[agent.x]\ntype = "python"\ntarget = "a:c"\n'
        '[agent.y]\ntype = "python"\ntarget = "a:b"\n',
        PLUGINS,
    )
    assert dict(differences(old, new)) == {
        "node.name": False,
        "node.drain": True,
        "agent.x.target": False,
        "agent.y": True,
    }
    assert list(differences(old, old)) == []


def test_a_class_that_cannot_be_a_configuration_is_a_type_error() -> None:
    @attrs.frozen
    class Plain:
        x: int = 1

    @attrs.frozen(kw_only=True)
    class Odd:
        x: complex = setting(1j, help="no TOML form")

    with pytest.raises(TypeError, match="not made by setting"):
        structure(load({}), Plain, NothingKnown())
    with pytest.raises(TypeError, match="cannot have the annotation"):
        structure(load({}), Odd, NothingKnown())


def test_values_made_by_hand_are_validated_too() -> None:
    with pytest.raises(ValueError, match="expected between 0 and 9"):
        Inner(count=10)
    with pytest.raises(ValueError, match="expected less than 1"):
        Inner(share=1.0)


def test_a_file_that_is_too_large_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "big.toml"
    path.write_bytes(b"#" * (2 << 20))
    with pytest.raises(ConfigError, match="more than 1,048,576 bytes"):
        load(path)
