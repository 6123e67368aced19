"""flowserve: run a node, or look at what it would run."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence

from flowcore.cli.tables import table
from flowcore.errors import AssemblyError, FlowError

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2


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
        action="append",
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
    from flowcore.assembly import discover_for, make_plan, read_config
    from flowcore.config import show

    plugins = discover_for(options.config, options.set)
    config = read_config(options.config, plugins, options.set)
    plan = make_plan(config, plugins.registry)
    if options.command == "config":
        print(show(config), end="")
    elif options.command == "graph":
        print(plan.mermaid(), end="")
    else:
        print(
            f"{options.config}: {len(config.agent)} agents, {len(config.edge)} edges, no problems"
        )
    return EXIT_OK


def _plugins(options: argparse.Namespace) -> int:
    from flowcore.assembly import discover, discover_for

    plugins = discover() if options.config is None else discover_for(options.config, options.set)
    if options.show:
        return _show_plugin(options, plugins)
    registered = plugins.registry.all()
    origins = {found.name: found.origin for found in plugins.found}
    if options.json:
        rows = [
            {
                "kind": one.factory.kind,
                "type": one.factory.type,
                "stability": one.factory.stability,
                "plugin": one.plugin,
                "origin": origins.get(one.plugin, ""),
            }
            for one in registered
        ]
        states = [
            {"plugin": one.name, "origin": one.origin, "state": one.state} for one in plugins.found
        ]
        print(json.dumps({"types": rows, "plugins": states}, indent=2))
        return EXIT_OK
    print(
        table(
            ["kind", "type", "stability", "plugin", "from"],
            [
                [
                    one.factory.kind,
                    one.factory.type,
                    one.factory.stability,
                    one.plugin,
                    origins.get(one.plugin, ""),
                ]
                for one in registered
            ],
        )
    )
    for broken in plugins.registry.broken:
        print(f"BROKEN: {broken}")
    for found in plugins.found:
        if found.state == "disabled":
            print(f"disabled: {found.name} ({found.origin})")
    return EXIT_OK


def _show_plugin(options: argparse.Namespace, plugins: object) -> int:
    from flowcore.assembly import Plugins
    from flowcore.config import settings_table

    assert isinstance(plugins, Plugins)
    if options.name is None:
        print(
            "flowserve: plugins show needs a type, such as: flowserve plugins show mcp",
            file=sys.stderr,
        )
        return EXIT_USAGE
    kind, _, type_ = options.name.rpartition(".")
    chosen = [
        one
        for one in plugins.registry.all()
        if one.factory.type == type_ and kind in ("", one.factory.kind)
    ]
    if not chosen:
        known = ", ".join(
            f"{one.factory.kind}.{one.factory.type}" for one in plugins.registry.all()
        )
        print(f"flowserve: no plugin offers {options.name!r} (known: {known})", file=sys.stderr)
        for broken in plugins.registry.broken:
            print(f"BROKEN: {broken}", file=sys.stderr)
        return EXIT_USAGE
    for one in chosen:
        print(
            f"{one.factory.kind} {one.factory.type} ({one.factory.stability}), plugin {one.plugin}"
        )
        print((one.factory.config.__doc__ or "").strip())
        rows = settings_table(one.factory.config)
        print(
            table(["key", "form", "default", "meaning"], rows) if rows else "no settings of its own"
        )
        print()
    return EXIT_OK


def _schema(options: argparse.Namespace) -> int:
    from flowcore.assembly import FlowConfig, discover, discover_for, listing
    from flowcore.config import json_schema

    plugins = discover() if options.config is None else discover_for(options.config, options.set)
    print(json.dumps(json_schema(FlowConfig, listing(plugins.registry)), indent=2))
    return EXIT_OK


def _reference(options: argparse.Namespace) -> int:
    from flowcore.assembly import FlowConfig, discover, discover_for, listing
    from flowcore.config import reference_markdown

    plugins = discover() if options.config is None else discover_for(options.config, options.set)
    print(reference_markdown(FlowConfig, listing(plugins.registry)), end="")
    return EXIT_OK


if __name__ == "__main__":
    main()
