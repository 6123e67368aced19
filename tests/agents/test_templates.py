"""The expansions in RFC 6570 sections 1.2 and 3.2, and random ones, are recognized."""

from __future__ import annotations

import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowcore.agents.templates import pattern

RFC = [
    # level 1 and 2
    ("{var}", "value"),
    ("{hello}", "Hello%20World%21"),
    ("{+var}", "value"),
    ("{+hello}", "Hello%20World!"),
    ("{+path}/here", "/foo/bar/here"),
    ("here?ref={+path}", "here?ref=/foo/bar"),
    ("X{#var}", "X#value"),
    ("X{#hello}", "X#Hello%20World!"),
    # level 3
    ("map?{x,y}", "map?1024,768"),
    ("{x,hello,y}", "1024,Hello%20World%21,768"),
    ("{+x,hello,y}", "1024,Hello%20World!,768"),
    ("{+path,x}/here", "/foo/bar,1024/here"),
    ("{#x,hello,y}", "#1024,Hello%20World!,768"),
    ("{#path,x}/here", "#/foo/bar,1024/here"),
    ("X{.var}", "X.value"),
    ("X{.x,y}", "X.1024.768"),
    ("{/var}", "/value"),
    ("{/var,x}/here", "/value/1024/here"),
    ("{;x,y}", ";x=1024;y=768"),
    ("{;x,y,empty}", ";x=1024;y=768;empty"),
    ("{?x,y}", "?x=1024&y=768"),
    ("{?x,y,empty}", "?x=1024&y=768&empty="),
    ("?fixed=yes{&x}", "?fixed=yes&x=1024"),
    ("{&x,y,empty}", "&x=1024&y=768&empty="),
    # undefined variables
    ("O{undef}X", "OX"),
    ("X{#undef}", "X"),
    ("X{/undef}", "X"),
    ("X{?undef}", "X"),
]


@pytest.mark.parametrize(("template", "uri"), RFC)
def test_the_examples_of_the_rfc_match(template: str, uri: str) -> None:
    assert pattern(template).matches(uri)


@pytest.mark.parametrize(
    ("template", "uri"),
    [
        ("db://{table}", "db://users/7"),
        ("db://{table}/{row}", "db://users"),
        ("db://{table}", "file://users"),
        ("db://{table}/end", "db://users/endless"),
        ("X{.var}", "Xvalue"),
        ("X{?var}", "X/value"),
        ("X{/var}Y", "X/valueZ"),
        ("a{x}b{y}b", "aXb"),
        ("plain", "plainer"),
        ("plain", ""),
    ],
)
def test_what_it_cannot_have_been_expanded_to_does_not_match(template: str, uri: str) -> None:
    assert not pattern(template).matches(uri)


def test_what_is_no_expression_is_taken_as_it_stands() -> None:
    assert pattern("a{b").matches("a{b")
    assert pattern("a}{b").matches("a}{b")
    assert pattern("").matches("")
    assert not pattern("").matches("x")


def test_the_prefix_and_the_given_characters_are_known() -> None:
    made = pattern("db://{table}/rows{?limit}")
    assert (made.prefix, made.literals) == ("db://", 10)
    assert pattern("{x}").prefix == ""


_TEXT = st.text(alphabet="ab/?#.;&=,%x", max_size=5)
_LITERAL = st.text(alphabet="ab/?#.;&", min_size=1, max_size=3)
_OPERATOR = st.sampled_from(["", "+", "#", ".", "/", ";", "?", "&"])


def expanded(operator: str, value: str) -> str:
    """One variable's expansion (RFC 6570 appendix A)."""
    lead = "" if operator == "+" else operator
    safe = ":/?#[]@!$&'()*+,;=" if operator in ("+", "#") else ""
    named = "v=" if operator in (";", "?", "&") else ""
    return lead + named + urllib.parse.quote(value, safe=safe)


@given(st.lists(st.tuples(_LITERAL | st.none(), _OPERATOR, st.none() | _TEXT), max_size=5))
def test_every_expansion_matches_its_template(
    parts: list[tuple[str | None, str, str | None]],
) -> None:
    template = uri = ""
    for literal, operator, value in parts:
        template += (literal or "") + "{" + operator + "v}"
        uri += (literal or "") + ("" if value is None else expanded(operator, value))
    assert pattern(template).matches(uri)


@pytest.mark.parametrize("operator", ["", "+", "#", ".", "/", ";", "?", "&"])
def test_a_hostile_pair_of_template_and_uri_costs_no_more_than_its_length(operator: str) -> None:
    hostile = pattern(("{" + operator + "v}a") * 30 + "!")
    lead = operator if operator != "+" else ""
    assert not hostile.matches((lead + "a") * 2000)
