"""docs/observability.md lists the metrics that there are, no fewer and no more, and each of them is told."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

import pytest

from support.node import ROOT

PAGE = (ROOT / "docs" / "observability.md").read_text()


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_lists_the_metrics_of_the_code_and_no_others(generate: ModuleType) -> None:
    listed = re.findall(
        r"^\| `([a-z0-9_.]+)` \| `([a-z0-9_]+)` \| (counter|gauge|histogram) \|", PAGE, re.M
    )
    known = [(one.name, one.prometheus, one.kind.value) for one in generate.metrics()]
    assert sorted(listed) == sorted(known)
    assert len(set(known)) == len(known)
    assert len({name for _, name, _ in known}) == len(known)
    assert generate.with_metrics(PAGE) == PAGE, "make docs"


def test_what_the_configuration_for_prometheus_speaks_of_is_told(generate: ModuleType) -> None:
    """Dashboard and alerts are also tried with a real Prometheus, where there is one."""
    folder = ROOT / "configs" / "observability"
    texts = [(folder / name).read_text() for name in ("alerts.yml", "alerts_test.yml")]
    texts.append((folder / "grafana" / "dashboards" / "flowcore.json").read_text())
    known = {one.prometheus for one in generate.metrics()}
    for name in set(re.findall(r"\b(?:flowcore|process)_[a-z0-9_]+\b", "".join(texts))):
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        assert name in known or base in known, name
