"""Discovery and registry: installed, one-file and given plugins; broken ones disturb nobody."""

from __future__ import annotations

import pathlib
import types
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import tomli

from flowcore import Context, Factory, Registry, hookimpl
from flowcore.assembly import FactoryRegistry, discover, listing
from flowcore.config import setting
from flowcore.errors import PluginError
from support.node import ROOT


@attrs.frozen(kw_only=True)
class NoConfig:
    """Nothing to set."""

    x: int = setting(1, help="a number")


@asynccontextmanager
async def open_nothing(config: NoConfig, context: Context) -> AsyncGenerator[None]:
    yield


def plugin(name: str, *factories: Factory) -> types.SimpleNamespace:
    """A plugin object that registers these."""

    @hookimpl
    def flow_register(registry: Registry) -> None:
        for factory in factories:
            registry.add(factory)

    return types.SimpleNamespace(flow_register=flow_register, __name__=name)


def factory(type_: str, stability: str = "beta") -> Factory:
    return Factory("balancer", type_, NoConfig, open_nothing, stability)


def test_every_plugin_module_has_its_entry_point() -> None:
    table = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    named = set(table["flowcore.plugins"].values())
    found = set()
    for folder in (ROOT / "plugins").iterdir():
        if not folder.name.startswith("flow_"):
            continue
        for path in [*folder.glob("*.py"), *folder.glob("*/__init__.py")]:
            if "def flow_register(" in path.read_text():  # the others are helpers of plugins
                module = path.parent if path.name == "__init__.py" else path
                found.add(f"{folder.name}.{module.stem}")
    assert named == found


def test_all_installed_plugins_load() -> None:
    plugins = discover()
    assert plugins.registry.broken == []
    assert {one.state for one in plugins.found} == {"loaded"}
    assert {"mcp", "python"} <= set(listing(plugins.registry)["agent"])
    assert [one.name for one in plugins.found] == sorted(one.name for one in plugins.found)


def test_a_given_plugin_is_taken_with_its_name() -> None:
    plugins = discover(given=[plugin("mine", factory("own"))])
    (own,) = (one for one in plugins.registry.all() if one.factory.type == "own")
    assert own.plugin == "mine"
    assert plugins.registry.lookup("balancer", "own") is NoConfig
    assert plugins.registry.lookup("balancer", "none") is None


def test_two_plugins_that_claim_a_name_are_both_named() -> None:
    plugins = discover(
        given=[plugin("first", factory("x")), plugin("second", factory("x"), factory("y"))]
    )
    (broken,) = plugins.registry.broken
    assert broken.plugin == "second"
    assert "claimed by plugin 'second' and by plugin 'first'" in str(broken)
    assert "y" not in plugins.registry.known("balancer")
    assert "x" in plugins.registry.known("balancer")


def test_a_misspelt_hook_breaks_the_plugin_alone() -> None:
    @hookimpl
    def flow_regster(registry: Registry) -> None:
        raise AssertionError("never called")

    plugins = discover(given=[types.SimpleNamespace(flow_regster=flow_regster, __name__="typo")])
    (broken,) = plugins.registry.broken
    assert "flow_regster" in str(broken)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (factory("x", stability="perfect"), "stability 'perfect' is none of"),
        (Factory("balancer", "x", int, open_nothing), "its config must be an attrs class"),
        ("no factory", "which is no Factory"),
    ],
)
def test_a_factory_that_is_none_breaks_its_plugin(wrong: Factory, says: str) -> None:
    (broken,) = discover(given=[plugin("odd", wrong)]).registry.broken
    assert says in str(broken)


@attrs.frozen
class NotMadeBySetting:
    x: int = 1


@attrs.frozen(kw_only=True)
class NoFormInToml:
    x: set[int] = setting(factory=set, help="a set")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (Factory("agnet", "x", NoConfig, open_nothing), "of kind 'agnet', did you mean 'agent'?"),
        (Factory("agent", "", NoConfig, open_nothing), "whose type is '', which is no name"),
        (Factory("agent", 3, NoConfig, open_nothing), "whose type is 3, which is no name"),  # type: ignore[arg-type]
        (Factory("agent", "x", NoConfig, None), "must be an async context manager function"),  # type: ignore[arg-type]
        (Factory("agent", "x", NotMadeBySetting, open_nothing), "is not made by setting()"),
        (Factory("agent", "x", NoFormInToml, open_nothing), "cannot have the annotation set"),
    ],
)
def test_a_factory_with_a_wrong_part_breaks_its_plugin(wrong: Factory, says: str) -> None:
    plugins = discover(given=[plugin("odd", factory("fine"), wrong)])
    (broken,) = plugins.registry.broken
    assert says in str(broken)
    assert "fine" not in plugins.registry.known("balancer")


def test_a_plugin_without_hooks_is_broken() -> None:
    (broken,) = discover(given=[types.SimpleNamespace(__name__="empty")]).registry.broken
    assert "implements no hook" in str(broken)


def test_one_file_plugins_load_by_path(tmp_path: pathlib.Path) -> None:
    good = tmp_path / "good.py"
    good.write_text((ROOT / "examples" / "one_file_plugin.py").read_text())
    bad = tmp_path / "bad.py"
    bad.write_text("import there_is_no_such_module\n")
    plugins = discover(files=[good, bad, tmp_path / "missing.py"])
    states = {
        one.name: one.state for one in plugins.found if one.name in ("good", "bad", "missing")
    }
    assert states == {"good": "loaded", "bad": "broken", "missing": "broken"}
    note = plugins.registry.note("agent", "x") or ""
    assert "plugin 'bad' could not be loaded: ModuleNotFoundError" in note
    assert "there is no plugin file" in note


HOOK = """
from flowcore import Factory, hookimpl
from flowcore.config import setting
import attrs
from contextlib import asynccontextmanager

@attrs.frozen(kw_only=True)
class Config:
    x: int = setting(1, help="a number")

@asynccontextmanager
async def open_nothing(config, context):
    yield

"""
REGISTER = "    registry.add(Factory('edge', TYPE, Config, open_nothing))\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def flow_register(:", "SyntaxError: invalid syntax"),
        ("1 / 0", "ZeroDivisionError"),
        ("", "implements no hook; flow_register is missing"),
        ("def flow_register(registry): pass", "flow_register is not marked with @hookimpl"),
        (f"{HOOK}@hookimpl\nasync def flow_register(registry): pass", "is async"),
        (f"{HOOK}@hookimpl\ndef flow_register(registry): raise SystemExit", "SystemExit"),
        (f"{HOOK}@hookimpl\ndef flow_register(registry, more): pass", "Argument(s) {'more'}"),
        (f"{HOOK}@hookimpl\ndef flow_regster(registry): pass", "unknown hook 'flow_regster'"),
    ],
)
def test_a_plugin_file_breaks_alone(tmp_path: pathlib.Path, text: str, says: str) -> None:
    path = tmp_path / "odd.py"
    path.write_text(text)
    plugins = discover(files=[path])
    (broken,) = plugins.registry.broken
    assert says in str(broken)
    assert "\n" not in str(broken)
    assert {"mcp", "python"} <= set(plugins.registry.known("agent"))


def test_a_plugin_file_named_like_another_plugin_takes_nothing_from_it(
    tmp_path: pathlib.Path,
) -> None:
    files = []
    for folder, type_ in (("one", "first"), ("two", "second")):
        path = tmp_path / folder / "api.py"
        path.parent.mkdir()
        register = REGISTER.replace("TYPE", repr(type_))
        path.write_text(f"{HOOK}@hookimpl\ndef flow_register(registry):\n{register}")
        files.append(path)
    plugins = discover(files=files)
    assert plugins.registry.broken == []
    assert {"api", "first", "second"} <= set(plugins.registry.known("edge"))
    again = discover(files=[files[0], files[0]])
    (broken,) = again.registry.broken
    assert "edge type 'first' is claimed by plugin" in str(broken)
    assert {"api", "first"} <= set(again.registry.known("edge"))


def test_a_disabled_plugin_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWCORE_DISABLE_PLUGINS", "weighted, ")
    plugins = discover(disable=["peak_ewma"])
    assert {one.name for one in plugins.found if one.state == "disabled"} == {
        "weighted",
        "peak_ewma",
    }
    assert "weighted" not in plugins.registry.known("balancer")
    assert plugins.registry.note("balancer", "weighted") == "disabled: peak_ewma, weighted"
    with pytest.raises(PluginError, match="no installed plugin is named 'nobody'"):
        discover(disable=["nobody"])


def test_factories_are_added_by_plugins_only() -> None:
    registry = FactoryRegistry()
    with pytest.raises(PluginError, match="flow_register hook only"):
        registry.add(factory("x"))
    with pytest.raises(PluginError, match=r"there is no balancer type 'x' \(known: none\)"):
        registry.factory("balancer", "x")


def test_hook_calls_can_be_traced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FLOWCORE_TRACE_PLUGINS", "1")
    with caplog.at_level("INFO"):
        discover(given=[plugin("mine", factory("own"))])
    assert "flow_register" in caplog.text
