"""URIs: however one is spelled, it is held against the rules as the resource that it names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from flow_guards.permissions import Permissions, PermissionsConfig, Rule
from flow_guards.uris import careless, generous, has_dots, normalised, readings
from flowcore.envelope import Envelope, Principal
from flowcore.errors import InvalidArguments, PermissionDenied

ANN = Principal(name="ann", scheme="idp")


def guard(**rules: list[str]) -> Permissions:
    made = [Rule(**{kind: tuple(names)}) for kind, names in rules.items()]
    return Permissions(PermissionsConfig(rules=tuple(made)))


def asked(
    name: str, method: str = "resources/read", agent: str = "docs", **params: Any
) -> Envelope:
    return Envelope(
        method=method, agent=agent, name=name, params=params, deadline=1e9, principal=ANN
    )


def may(it: Permissions, name: str, *more: str, **params: Any) -> bool:
    try:
        it.enter(asked(name, *more, **params), 0.0)
    except PermissionDenied:
        return False
    return True


@pytest.mark.parametrize(
    ("uri", "normal"),
    [
        ("HTTP://User@EXAMPLE.com:80/%7ea/./b/../c?Q#F", "http://User@example.com/~a/c?Q#F"),
        ("https://h:443", "https://h/"),
        ("https://h:8443/", "https://h:8443/"),
        ("file:/a", "file:///a"),
        ("FILE://LocalHost/a%2fb%c3%bc", "file:///a%2Fb%C3%BC"),
        ("file:///a/b/c/./../../g", "file:///a/g"),  # RFC 3986 section 5.2.4
        ("x:mid/content=5/../6", "x:mid/6"),
        ("x:/../../g", "x:/g"),
        ("x:/a/..", "x:/"),
        ("x:a/..", "x:"),
        ("x:/a/b/.", "x:/a/b/"),
        ("x:///a//../b", "x:///a/b"),
        ("note:A%2Db", "note:A-b"),
        ("%41", "A"),
        ("", ""),
        ("x:%zz%", "x:%zz%"),
        ("urn:Isbn:1", "urn:Isbn:1"),
        ("x:a...b/.c", "x:a...b/.c"),
    ],
)
def test_the_normal_form_is_that_of_rfc_3986(uri: str, normal: str) -> None:
    assert normalised(uri) == normal
    assert normalised(normal) == normal


@pytest.mark.parametrize(
    ("uri", "taken"),
    [
        ("file:///a%2f..%2Fb", "file:///b"),
        ("file:///a%252f%252e%252e%252fb", "file:///b"),
        ("file:///a\\..\\b", "file:///b"),
        ("file:///a%5c..%5cb", "file:///b"),
        ("file:////a//b", "file:///a/b"),
        ("  fi\tle:///a\nb#part ", "file:///ab"),
        ("http://me:pw@\uff25XAMPLE.com:80", "http://example.com/"),
        ("file:///a%3Fb", "file:///a?b"),
        ("x:y?q=%2e%2e", "x:y?q=.."),
    ],
)
def test_a_generous_reader_takes_more_for_the_same(uri: str, taken: str) -> None:
    assert generous(uri) == taken


@pytest.mark.parametrize(
    ("uri", "taken"),
    [
        ("file:///a?/../../b", "file:///b"),
        ("file:///a#/../../b", "file:///b"),
        ("file:///a%23/..%2f../b", "file:///b"),
        ("file:///A/\uff22/\u212a", "file:///a/b/k"),
        ("file:///a/..;x=y/b;c", "file:///b;c"),
        ("file:///a/\uff0e\uff0e/b", "file:///b"),
        ("file:///a/%c0%ae%c0%ae%c0%afb", "file:///b"),
        ("file:///a/%u002e%u002E/b", "file:///b"),
        ("file:///a./b%20/c. . /d", "file:///a/b/c/d"),
        ("file:///a/.../b", "file:///a/b"),
    ],
)
def test_a_careless_reader_takes_all_for_a_path(uri: str, taken: str) -> None:
    assert careless(uri) == taken


@pytest.mark.parametrize("mark", ["?", "#", "%3f", "%23", "%253F", "?x#", ";a?"])
def test_no_mark_hides_the_way_out(mark: str) -> None:
    it = guard(allow=["docs:file:///public/*"], deny=["docs:file:///public/secret/*"])
    assert may(it, f"file:///public/a{mark}b")
    assert may(it, f"file:///public/a{mark}/../b")
    assert not may(it, f"file:///public/a{mark}/../../etc/passwd")
    assert not may(it, f"file:///public/a{mark}/../secret/x")
    assert not may(it, f"file:///public/SECRET/x{mark}")


@pytest.mark.parametrize("tail", ["", "?q", "#f", "%00", "%00.txt", ".", " .", "%20"])
@pytest.mark.parametrize("name", ["private", "Private", "PRIV%41TE", "\uff50rivate"])
def test_what_is_denied_is_denied_in_any_case_with_any_tail(name: str, tail: str) -> None:
    it = guard(allow=["*"], deny=["docs:file:///private"])
    assert not may(it, f"file:///{name}{tail}")
    assert may(it, f"file:///{name}er{tail}")


def test_many_stars_do_not_make_a_long_uri_take_for_ever() -> None:
    """Without atomic groups this would take years."""
    it = guard(allow=["*"], deny=["docs:file:///*/a/*/b/*/c/*/d/*.txt"])
    assert may(it, "file:///" + "/a/b/c/d" * 5000 + ".tx")
    assert not may(it, "file:///" + "/a/b/c/d" * 5000 + "/x.txt")
    assert not may(it, "file:///x/a/b/a/b/c/d/b/c/c/d/d.txt")


@given(
    st.lists(st.sampled_from(["a", "b", "*", "ab", "."]), max_size=6).map("".join),
    st.text("ab.", max_size=8),
)
def test_stars_mean_what_they_mean_to_a_shell(rule: str, text: str) -> None:
    from fnmatch import fnmatchcase

    it = guard(allow=[f"x.{rule}y"])
    assert may(it, f"{text}y", "tools/call", "x") == fnmatchcase(f"{text}y", f"{rule}y")


def test_what_is_escaped_without_end_is_nobodys() -> None:
    assert readings("file:///%" + "25" * 50 + "2e") is None
    assert not may(guard(allow=["*"]), "file:///%" + "25" * 50 + "2e")


@given(st.text(max_size=60))
def test_any_text_has_readings_and_a_normal_form_that_stays(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)
    found = readings(text)
    assert found is None or found[0] == text


@pytest.mark.parametrize(
    "uri",
    [
        "file:///public/../private/a",
        "file:///public/%2e%2e/private/a",
        "file:///public/%2E%2e%2fprivate/a",
        "file:///public/..%2Fprivate/a",
        "file:///public/..\\private/a",
        "file:///public/%252e%252e/private/a",
        "file:///public/.\t./private/a",
    ],
)
def test_no_way_leads_out_of_what_is_allowed(uri: str) -> None:
    it = guard(allow=["docs:file:///public/*"])
    assert may(it, "file:///public/a")
    for method in ("resources/read", "resources/subscribe", "resources/unsubscribe"):
        assert not may(it, uri, method)
    assert not it.shows(ANN, "docs", "resources", uri)


@pytest.mark.parametrize(
    "uri",
    [
        "FILE:///private/a",
        "file://LOCALHOST/private/a",
        "file:/private/a",
        "file:////private/a",
        "file:///./private/a",
        "file:///x/../private/a",
        "file:///priv%61te/a",
        "file:///private%2Fa",
        "file:///pri\nvate/a",
    ],
)
def test_no_spelling_leads_past_what_is_denied(uri: str) -> None:
    for rule in ("docs:file:///private/*", "docs:FILE:///priv%61te/*"):
        it = guard(allow=["*"], deny=[rule])
        assert may(it, "file:///public/a")
        assert not may(it, uri)


def test_what_is_denied_is_denied_with_any_query_or_fragment() -> None:
    it = guard(allow=["*"], deny=["docs:file:///private", "docs:web:search?deep=1"])
    assert not may(it, "file:///private")
    assert not may(it, "file:///private?x=1")
    assert not may(it, "file:///private#x")
    assert may(it, "file:///privateer")
    assert may(it, "web:search?deep=0")
    assert not may(it, "web:search?deep=1")


def test_a_resource_is_not_allowed_by_the_name_of_a_tool() -> None:
    it = guard(allow=["*.search", "*:web:*"])
    assert may(it, "search", "tools/call")
    assert may(it, "web:a")
    assert not may(it, "file:///private?.search")
    assert not may(it, "file:///private/x:web:a")


def test_a_star_for_the_agent_is_all_agents_with_their_resources() -> None:
    it = guard(allow=["*.*"])
    assert may(it, "file:///a")
    assert may(it, "search", "tools/call")


@pytest.mark.parametrize("rule", ["docs:file:///a/../b", "docs:file:///a/%2e%2E", "docs:./a"])
def test_a_rule_that_no_uri_could_fit_is_a_mistake(rule: str) -> None:
    with pytest.raises(ValueError, match="without `.` and `..` segments"):
        Rule(allow=(rule,))


def completion(kind: str, name: str) -> Envelope:
    ref = Raw(b'{"type":"%b"}' % kind.encode())
    return asked(name, "completion/complete", ref=ref)


def test_a_completion_is_of_what_its_reference_says() -> None:
    prompts, resources = guard(allow=["docs.ask:why"]), guard(allow=["docs:ask:why"])
    of_prompt, of_resource = (
        completion("ref/prompt", "ask:why"),
        completion("ref/resource", "ask:why"),
    )
    prompts.enter(of_prompt, 0.0)
    resources.enter(of_resource, 0.0)
    with pytest.raises(PermissionDenied, match=r"may not use 'docs\.ask:why'"):
        resources.enter(of_prompt, 0.0)
    with pytest.raises(PermissionDenied, match="may not use 'docs:ask:why'"):
        prompts.enter(of_resource, 0.0)
    plain = completion("ref/resource", "a")  # a URI, though it has no colon
    guard(allow=["docs:a"]).enter(plain, 0.0)


@pytest.mark.parametrize("params", [{}, {"ref": Raw(b"7")}, {"ref": Raw(b"{}")}])
def test_a_completion_of_nothing_is_refused(params: dict[str, Raw]) -> None:
    with pytest.raises(InvalidArguments, match=r"params\.ref"):
        guard(allow=["*"]).enter(asked("a", "completion/complete", agent="docs", **params), 0.0)


# ---- spellings of one URI

segments = st.text("abXY.-_~", min_size=1, max_size=5).filter(lambda one: one not in (".", ".."))


@st.composite
def spellings(draw: st.DrawFn, uri_path: list[str]) -> str:
    """Some other URI of the same file, as RFC 3986 or a generous reader has it."""

    def cased(text: str) -> str:
        return "".join(draw(st.sampled_from((one.lower(), one.upper()))) for one in text)

    def escaped(text: str) -> str:
        made = []
        for one in text:
            code = cased(f"{ord(one):02x}")
            made.append(draw(st.sampled_from((one, one, f"%{code}", f"%25{code}"))))
        return "".join(made)

    slashes = ("/", "/", "//", "\\", "%2f", "%5C", "/./", "/x/../", "/%2e/", "/a%2f..%2F")
    roots = ("/", "//", "/./", "/../", "/x/../", "/%2e%2E/", "/a%2f..%2F")
    root, slash = draw(st.sampled_from(roots)), st.sampled_from(slashes)
    rest = "".join(draw(slash) + escaped(one) for one in uri_path[1:])
    host = draw(st.sampled_from(("", "//", "//localhost", "//LocalHost")))
    if not host and root == "//":
        root = "/"
    tail = draw(st.sampled_from(("", "#", "#top", " ")))
    return f"{cased('file')}:{host}{root}{escaped(uri_path[0])}{rest}{tail}"


@given(st.data(), st.lists(segments, min_size=1, max_size=4))
def test_no_spelling_of_a_uri_is_judged_otherwise_than_the_uri(
    data: st.DataObject, path: list[str]
) -> None:
    plain = "file:///" + "/".join(path)
    folder = f"docs:file:///{path[0]}"
    spelled = data.draw(spellings(path))
    assert generous(spelled) == plain
    assert not may(guard(allow=["*"], deny=[f"docs:{plain}"]), spelled)
    assert not may(guard(allow=["*"], deny=[folder, f"{folder}/*"]), spelled)
    if not has_dots(spelled):
        assert not may(guard(allow=["*"], deny=[f"docs:{spelled}"]), plain)
    if path[0] not in ("a", "x"):
        assert not may(guard(allow=["docs:file:///a/*", "docs:file:///x/*"]), spelled)
