"""flowserve: run a node, or look at what it would run."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flowcore.cli.tables import table
from flowcore.config.problems import known_words
from flowcore.errors import AssemblyError, FlowError

if TYPE_CHECKING:
    from flowcore.assembly import Plugins, Registered

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2


class _Also(argparse.Action):
    """Appends to what stood before the command as well; `append` begins anew behind it."""

    said: list[str]

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.said = []

    def __call__(self, parser: Any, namespace: Any, value: Any, option: str | None = None) -> None:
        self.said.append(value)
        setattr(namespace, self.dest, list(self.said))


def parser() -> argparse.ArgumentParser:
    """The command line of flowserve."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--config",
        type=pathlib.Path,
        metavar="FILE",
        help="the TOML file",
        default=argparse.SUPPRESS,
    )
    common.add_argument(
        "--set",
        action=_Also,
        metavar="KEY=VALUE",
        help="override one key, such as node.name=beta; may be given often",
        default=argparse.SUPPRESS,
    )
    top = argparse.ArgumentParser(
        prog="flowserve",
        description="One endpoint in front of many agents.",
        parents=[common],
        epilog="exit codes: 0 ended as asked, 1 failed at run time, 2 wrong usage or configuration",
    )
    top.add_argument("--check-config", action="store_true", help="report all problems and exit")
    top.add_argument("--log-level", choices=["debug", "info", "warning", "error"])
    top.add_argument("--log-format", choices=["text", "json"])
    top.add_argument("--version", action="store_true", help="print the version and exit")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    plugins = commands.add_parser(
        "plugins", parents=[common], help="list the plugins and what they offer"
    )
    plugins.add_argument("show", nargs="?", choices=["show"], help="show one in full")
    plugins.add_argument("name", nargs="?", help="a type, or kind.type")
    plugins.add_argument("--json", action="store_true", help="as JSON")
    commands.add_parser(
        "schema", parents=[common], help="the JSON schema of this installation's files"
    )
    config = commands.add_parser("config", parents=[common], help="the effective configuration")
    config.add_argument(
        "action", choices=["show", "reference"], help="show: with defaults, secrets masked"
    )
    commands.add_parser("graph", parents=[common], help="the components as a Mermaid flowchart")
    return top


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of the command."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run flowserve; its exit code."""
    options = parser().parse_args(arguments)
    options.config = getattr(options, "config", None)
    options.set = getattr(options, "set", [])
    try:
        return _dispatch(options)
    except BrokenPipeError:
        return EXIT_FAILED
    except OSError as error:
        print(f"flowserve: {error}", file=sys.stderr)
        return EXIT_FAILED
    except AssemblyError as error:
        print(f"flowserve: {error}", file=sys.stderr)
        return EXIT_FAILED
    except FlowError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE


def _dispatch(options: argparse.Namespace) -> int:
    if options.version:
        from flowcore.flow import version

        print(f"flowserve {version()}")
        return EXIT_OK
    if options.log_level or options.log_format or os.environ.get("FLOWCORE_TRACE_PLUGINS"):
        from flowcore.cli.logs import set_up_logs

        set_up_logs(options.log_level or "info", options.log_format or "text")
    if options.command == "plugins":
        return _plugins(options)
    if options.command == "schema":
        return _schema(options)
    if options.command == "config" and options.action == "reference":
        return _reference(options)
    if options.config is None:
        print(
            "flowserve: --config FILE is needed, such as configs/quickstart.toml", file=sys.stderr
        )
        return EXIT_USAGE
    if options.check_config and options.command is not None:
        print(
            f"flowserve: --check-config and {options.command} do not go together", file=sys.stderr
        )
        return EXIT_USAGE
    if options.command in ("config", "graph") or options.check_config:
        return _look(options)
    return _serve(options)


def _serve(options: argparse.Namespace) -> int:
    import trio

    from flowcore.cli.logs import set_up_logs
    from flowcore.cli.serve import Node
    from flowcore.supervise import GaveUp

    set_up_logs(options.log_level or "info", options.log_format or "text")
    node = Node(options.config, options.set, options.log_level, options.log_format)
    failure: BaseException | None = None
    try:
        trio.run(node.run)
    except* FlowError as group:
        failure = _first(group)
    if failure is None:
        return EXIT_OK
    if isinstance(failure, GaveUp):
        print(f"flowserve: {failure}", file=sys.stderr)
        return EXIT_FAILED
    raise failure


def _first(error: BaseException) -> BaseException:
    """The first failure of a group: each of them alone keeps the node from running."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _look(options: argparse.Namespace) -> int:
    from flowcore.assembly import read
    from flowcore.config import show

    made = read(options.config, options.set)
    if options.command == "config":
        print(show(made.config), end="")
    elif options.command == "graph":
        print(made.plan.mermaid(), end="")
    else:
        agents, edges = len(made.config.agent), len(made.config.edge)
        words = f"{_count(agents, 'agent')}, {_count(edges, 'edge')}, no problems"
        broken = [one.plugin for one in made.plugins.registry.broken]
        left_out = f"; left out, for they are broken: {', '.join(broken)}" if broken else ""
        print(f"{options.config}: {words}{left_out}")
    return EXIT_OK


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _discover(options: argparse.Namespace) -> Plugins:
    """The plugins of a configuration, or those that are installed."""
    from flowcore.assembly import discover, discover_for

    return discover() if options.config is None else discover_for(options.config, options.set)


def _plugins(options: argparse.Namespace) -> int:
    plugins = _discover(options)
    if options.show:
        return _show_plugin(options, plugins)
    origins = {found.name: found.origin for found in plugins.found}
    registered = plugins.registry.all()
    if options.json:
        types = [_described(one, origins) for one in registered]
        states = [
            {"plugin": one.name, "origin": one.origin, "state": one.state} for one in plugins.found
        ]
        print(json.dumps({"types": types, "plugins": states}, indent=2))
        return EXIT_OK
    rows = [list(_described(one, origins).values()) for one in registered]
    print(table(["kind", "type", "stability", "plugin", "from"], rows))
    for broken in plugins.registry.broken:
        print(f"BROKEN: {broken}")
    for found in plugins.found:
        if found.state == "disabled":
            print(f"disabled: {found.name} ({found.origin})")
    return EXIT_OK


def _described(one: Registered, origins: Mapping[str, str]) -> dict[str, str]:
    factory = one.factory
    return {
        "kind": factory.kind,
        "type": factory.type,
        "stability": factory.stability,
        "plugin": one.plugin,
        "origin": origins.get(one.plugin, ""),
    }


def _show_plugin(options: argparse.Namespace, plugins: Plugins) -> int:
    if options.name is None:
        print(
            "flowserve: plugins show needs a type, such as: flowserve plugins show mcp",
            file=sys.stderr,
        )
        return EXIT_USAGE
    kind, _, type_ = options.name.rpartition(".")
    registered = plugins.registry.all()
    chosen = [
        one
        for one in registered
        if (one.factory.type == type_ and kind in ("", one.factory.kind))
        or one.plugin == options.name
    ]
    if not chosen:
        known = [f"{one.factory.kind}.{one.factory.type}" for one in registered]
        text = f"no plugin offers {options.name!r}{known_words(options.name, known)}"
        print(f"flowserve: {text}", file=sys.stderr)
        for broken in plugins.registry.broken:
            print(f"BROKEN: {broken}", file=sys.stderr)
        return EXIT_USAGE
    if options.json:
        origins = {found.name: found.origin for found in plugins.found}
        print(json.dumps([_in_full(one, origins) for one in chosen], indent=2))
        return EXIT_OK
    for one in chosen:
        full = _in_full(one, {})
        print(f"{full['kind']} {full['type']} ({full['stability']}), plugin {full['plugin']}")
        print(f"{full['about']}\n")
        rows = [list(setting.values()) for setting in full["settings"]]
        print(table(SETTING, rows) if rows else "no settings of its own")
        print()
    return EXIT_OK


SETTING = ("key", "form", "default", "meaning")


def _in_full(one: Registered, origins: Mapping[str, str]) -> dict[str, Any]:
    from flowcore.config import settings_table

    own = one.factory.config
    settings = [dict(zip(SETTING, row, strict=True)) for row in settings_table(own)]
    about = (own.__doc__ or "").strip()
    return {**_described(one, origins), "about": about, "settings": settings}


def _schema(options: argparse.Namespace) -> int:
    from flowcore.assembly import FlowConfig, listing
    from flowcore.config import json_schema

    print(json.dumps(json_schema(FlowConfig, listing(_discover(options).registry)), indent=2))
    return EXIT_OK


def _reference(options: argparse.Namespace) -> int:
    from flowcore.assembly import FlowConfig, listing
    from flowcore.config import reference_markdown

    print(reference_markdown(FlowConfig, listing(_discover(options).registry)), end="")
    return EXIT_OK


if __name__ == "__main__":
    main()
