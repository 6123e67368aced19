"""Make docs/configuration.md and docs/schema.json from the configuration classes (`make docs`)."""

from __future__ import annotations

import json
import pathlib

from flowcore.assembly import FlowConfig, discover, listing
from flowcore.config import json_schema, reference_markdown

HERE = pathlib.Path(__file__).parent

INTRODUCTION = """\
# Configuration

A node is configured by one TOML file: `flowserve --config FILE`. This page is made from the classes that the
file is checked against (`make docs`); `flowserve config reference` prints it for the plugins of your own
installation, and `flowserve schema` prints the JSON schema that editors understand.

Everything is strict: an unknown key, a wrong type or a value out of range is an error, and all errors are
reported at once with file and line (`flowserve --check-config --config FILE`).

- **Durations** are texts with a unit: `"250ms"`, `"30s"`, `"5m"`, `"1h30m"`.
- **Sizes** are texts with a unit: `"64KiB"`, `"16MiB"`, `"1GB"`.
- **Secrets** are named or sealed, never written: `{ env = "VARIABLE" }`, `{ file = "path" }` (mode 0600) or
  `{ sealed = "BASE64" }` ([security.md](security.md)). They are shown nowhere.
- **Paths** are relative to the file's folder.
- A **component** is chosen by its type: the bare type (`balancer = "peak_ewma"`), or a table with settings
  (`balancer = { type = "peak_ewma", decay = "5s" }`).
- `--set a.b=c` overrides one key on the command line.
- Keys marked *reloadable* take effect on `HUP`, without a restart.

"""


def configuration_page() -> str:
    """The whole page."""
    return INTRODUCTION + reference_markdown(FlowConfig, listing(discover().registry))


def schema_text() -> str:
    """The JSON schema of the built-in plugins."""
    schema = json_schema(FlowConfig, listing(discover().registry))
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    (HERE / "configuration.md").write_text(configuration_page())
    (HERE / "schema.json").write_text(schema_text())
