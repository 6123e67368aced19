"""Every route of the edges' own tables, by every method and trick, with every kind of wrong credentials.

What is asked for is never had: no answer but a refusal, nothing called, nothing changed.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flow_edges import api
from flow_edges.mcp.endpoint import routes
from flow_edges.mcp.settings import McpSettings
from flow_edges.routes import Route
from support import fortress as site
from support.fortress import STAFF, Fortress, Reply

METRICS = Route("GET", "/metrics")
"""The page of an exporter: it is in no table, and no less guarded."""
EDGES: dict[str, tuple[Route, ...]] = {
    "plain": routes(McpSettings()),
    "bare": (*api.ROUTES, METRICS),
}
GUARDED = [(edge, one) for edge, table in EDGES.items() for one in table if not one.open]
OPEN = {
    ("bare", "/livez"),
    ("bare", "/readyz"),
    ("plain", "/.well-known/oauth-protected-resource"),
    ("plain", "/.well-known/oauth-protected-resource/mcp"),
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
REFUSED = {400, 401, 403, 404, 405, 421}
MOST_HARM = {"NAME": "vault", "ACTION": "pause"}


def path_of(route: Route) -> str:
    """A path of this kind that would do something."""
    words = route.path.split("/")
    return "/".join(MOST_HARM.get(word, word) for word in words)


PATHS = list(dict.fromkeys((edge, path_of(one)) for edge, one in GUARDED))


def escaped(path: str, at: int) -> str:
    return f"{path[:at]}%{ord(path[at]):02x}{path[at + 1 :]}"


TRICKS: dict[str, Callable[[str, str], str]] = {
    "as it is": lambda path, base: path,
    "absolute form": lambda path, base: base + path,
    "a query": lambda path, base: path + "?x=/livez",
    "a query of an open path": lambda path, base: "/livez?/.." + path,
    "two slashes": lambda path, base: "/" + path,
    "two slashes at the end": lambda path, base: path + "//",
    "a trailing slash": lambda path, base: path + "/",
    "a dot": lambda path, base: "/." + path,
    "an escaped dot": lambda path, base: "/%2e" + path,
    "two dots": lambda path, base: "/livez/.." + path,
    "two dots from the open page": lambda path, base: (
        "/.well-known/oauth-protected-resource/.." + path
    ),
    "escaped dots": lambda path, base: "/livez/%2e%2e" + path,
    "dots escaped twice": lambda path, base: "/livez/%252e%252e" + path,
    "overlong dots": lambda path, base: "/livez/%c0%ae%c0%ae" + path,
    "an escaped slash": lambda path, base: "/livez%2f.." + path,
    "an escaped slash in front": lambda path, base: "/%2f" + path[1:],
    "a backslash": lambda path, base: "/livez\\.." + path,
    "capitals": lambda path, base: path.upper(),
    "one capital": lambda path, base: path[0] + path[1].upper() + path[2:],
    "a parameter": lambda path, base: path + ";x",
    "a parameter in front": lambda path, base: "/;x" + path,
    "an escaped letter": lambda path, base: escaped(path, 1),
    "a NUL": lambda path, base: path + "%00",
    "a NUL and an open path": lambda path, base: path + "%00/livez",
    "a line break": lambda path, base: path + "%0d%0aX:%20y",
    "a space": lambda path, base: path + "%20",
    "an extension": lambda path, base: path + ".json",
    "a fragment": lambda path, base: path + "#/livez",
    "a user": lambda path, base: base.replace("//", "//livez@") + path,
}


@pytest.fixture(scope="module")
def credentials(fortress: Fortress) -> dict[str, dict[str, str | None]]:
    """What is brought, by edge."""

    def of(edge: str) -> dict[str, str | None]:
        other = "bare" if edge == "plain" else "plain"
        return {
            "none": None,
            "bad": fortress.token(edge)[:-8] + "AAAAAAAA",
            "expired": fortress.token(edge, exp=int(time.time()) - 60),
            "other audience": fortress.token(other),
            "low scope": fortress.token(edge, scope="nothing"),
        }

    return {edge: of(edge) for edge in EDGES}


@pytest.fixture(autouse=True)
def unchanged(fortress: Fortress) -> Iterator[None]:
    """Whatever a test of this file does, nothing has happened to the agent."""
    before, calls = state(fortress), fortress.calls()
    yield
    assert state(fortress) == before
    assert fortress.calls() == calls


def state(fortress: Fortress) -> tuple[str, int, int]:
    [agent] = [
        one
        for one in fortress.ask("bare", "GET", "/agents", bearer=STAFF, body=b"").json["agents"]
        if one["name"] == "vault"
    ]
    return agent["state"], agent["lives"], agent["calls"]


def harmless(edge: str, method: str, path: str, kind: str, reply: Reply) -> bool:
    """Whether somebody who is known, but may do nothing, was only shown that there is nothing for them."""
    if kind != "low scope" or reply.status != 200:
        return False
    return (edge, path) == ("bare", "/tools") and (
        method == "HEAD"
        or reply.json["tools"] == [{"name": "flow.status", "agent": "flow"}]
        or reply.json["tools"] == []
    )


def test_the_tables_say_what_is_open_and_nothing_else_is(fortress: Fortress) -> None:
    listed = {(edge, one.path) for edge, table in EDGES.items() for one in table if one.open}
    assert listed == OPEN
    for edge, path in OPEN:
        assert fortress.ask(edge, "GET", path, body=b"").status == 200
        for method in METHODS[2:]:
            assert fortress.ask(edge, method, path, body=b"").status == 405


def test_right_credentials_open_each_route(fortress: Fortress) -> None:
    """Else the rest of this file would show nothing."""
    for edge, route in GUARDED:
        if route.path == "/events":
            continue  # it answers without an end: tests/telemetry/test_api.py
        if route.path == "/drain":
            continue  # the node would end: tests/plugins/flow_edges/board has it opened, and done
        path = path_of(route).replace("/vault/pause", "/vault/resume")
        path = path.replace("guards/vault/resume", "guards/audit/status")
        body = site.call(edge) if path in ("/call", "/mcp") else b""
        if path in ("/call", "/mcp"):
            body = site.call(edge, "vault.none")  # it is not there, and nothing is called
        reply = fortress.ask(edge, route.method, path, bearer=STAFF, body=body)
        assert reply.status not in (401, 403), (route, reply)


@pytest.mark.parametrize(("edge", "path"), PATHS)
def test_nothing_is_had_by_any_method_trick_or_wrong_credentials(
    fortress: Fortress, credentials: dict[str, dict[str, str | None]], edge: str, path: str
) -> None:
    base = fortress.base(edge)
    kept = fortress.keep(edge)
    bypasses, asked = [], 0
    for (trick, of), (kind, bearer), method in itertools.product(
        TRICKS.items(), credentials[edge].items(), METHODS
    ):
        target = of(path, base)
        body = site.call(edge) if path in ("/call", "/mcp") else b"{}"
        if trick == "a query of an open path" and edge == "bare" and method in ("GET", "HEAD"):
            continue  # that is /livez, with a query that nobody looks at
        reply = kept.ask(method, target, bearer=bearer, body=body)
        asked += 1
        if reply.status not in REFUSED and not harmless(edge, method, path, kind, reply):
            bypasses.append((trick, kind, method, reply))
        if kind != "low scope" and reply.status not in REFUSED:
            bypasses.append((trick, kind, method, reply))
    kept.close()
    assert bypasses == []
    assert asked >= (len(TRICKS) - 1) * 5 * len(METHODS)


def test_a_header_that_names_another_path_or_method_is_not_looked_at(fortress: Fortress) -> None:
    for name in (
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Forwarded-Path",
        "X-Forwarded-Prefix",
        "X-HTTP-Method-Override",
        "X-Forwarded-User",
        "X-Remote-User",
        "X-Forwarded-Client-Cert",
        "X-Client-Cert",
        "X-Forwarded-Proto",
    ):
        for value in ("/livez", "GET", "staff", 'URI="spiffe://flow/node/alpha"'):
            for edge in EDGES:
                reply = fortress.ask(edge, headers={name: value})
                assert reply.status == 401, (name, value, reply)
        reply = fortress.ask("bare", "GET", "/livez", headers={name: "/status"}, body=b"")
        assert reply.json == {"live": True}


def test_calls_of_flows_own_tools_need_leave_too(fortress: Fortress) -> None:
    low = fortress.token("plain", scope="nothing")
    headers = {"Mcp-Name": "flow.status"}
    reply = fortress.ask(
        "plain", bearer=low, body=site.call("plain", "flow.status"), headers=headers
    )
    assert reply.status == 403


def test_metrics_are_for_whom_the_guards_let_and_at_the_api_edge_alone(fortress: Fortress) -> None:
    def asked(edge: str = "bare", path: str = "/metrics", **how: Any) -> Reply:
        return fortress.ask(edge, how.pop("method", "GET"), path, body=b"", **how)

    told = asked(bearer=STAFF)
    assert told.status == 200
    assert told.get("cache-control") == "no-store"
    assert b"flowcore_requests_accepted_total" in told.body
    head = asked(method="HEAD", bearer=STAFF)
    assert (head.status, head.body) == (200, b"")
    refused = asked()
    assert refused.status == 401
    assert "Bearer" in refused.get("www-authenticate")
    assert asked(bearer=STAFF + "x").status == 401
    assert asked(path=f"/metrics?access_token={STAFF}&token={STAFF}").status == 401
    fortress.audited()
    assert asked(bearer=fortress.token("bare", scope="vault")).status == 403
    denied = [one for one in fortress.audited() if one.get("action") == "metrics"]
    assert [one["target"] for one in denied] == ["/metrics"]
    assert asked(bearer=STAFF, headers={"Origin": "https://evil.example"}).status == 403
    assert asked(bearer=STAFF, headers={"Host": "evil.example"}).status == 421
    assert asked("plain", bearer=STAFF).status == 404
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        refused = asked(method=method, bearer=STAFF)
        assert (refused.status, refused.get("allow")) == (405, "GET")
    assert asked(path="/metrics?" + "x" * 7000, bearer=STAFF).body.startswith(b"# ")
    assert asked(path="/metrics?" + "x" * 200_000, bearer=STAFF).status in (414, 431)
    for accept in ("application/openmetrics-text", "a" * 5000, "\xff;q=0,*/*", "text/html"):
        assert asked(bearer=STAFF, headers={"Accept": accept}).status == 200
