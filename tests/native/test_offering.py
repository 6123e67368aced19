"""What Python objects offer, and what of it clients see."""

from __future__ import annotations

import functools
import types
from typing import Any

import msgspec
import pytest

from flowcore.agents import Catalog
from flowcore.errors import AssemblyError
from flowcore.native import (
    CallContext,
    NativeAgent,
    Offering,
    Offers,
    completion,
    offering_of,
    prompt,
    resource,
    template,
    tool,
)
from support.natives import RecordingPort


def catalog_of(target: Any) -> Catalog:
    return Offers(offering_of(target, where="test"), Offering(), "test").catalog()


def definition(catalog: Catalog, name: str) -> dict[str, Any]:
    (found,) = (one for one in catalog.tools if one.name == name)
    made: dict[str, Any] = msgspec.json.decode(found.definition)
    return made


class Notes:
    """Keeps notes."""

    @tool(
        title="Find",
        read_only=True,
        idempotent=True,
        open_world=False,
        task="optional",
        icons=[{"src": "data:,"}],
    )
    async def search(self, text: str) -> list[str]:
        """Find notes that hold a text.

        Args:
            text: what to look for
        """
        return [text]

    @tool("put-note", description="Keep a note.", destructive=True)
    def put(self, text: str) -> None:
        """Not this."""

    @staticmethod
    @tool
    def loose(a: int) -> int:
        return a

    @classmethod
    @tool
    def made(cls, a: int) -> str:
        return cls.__name__

    @property
    def costly(self) -> str:
        raise AssertionError("a property was asked for")

    @resource("note://all", title="All", mime_type="text/plain", size=3)
    def everything(self) -> str:
        """Every note."""
        return ""

    @template("note://{day}/{+path}")
    def one(self, day: str, path: str) -> str:
        return day + path

    @prompt
    def review(self, text: str, tone: str = "kind") -> str:
        """Review it.

        Args:
            text: the text
        """
        return text + tone

    @prompt("other", title="Other")
    async def unnamed(self) -> str:
        return ""

    @completion
    def complete(self, ref: dict[str, Any], argument: dict[str, Any]) -> list[str]:
        return []


def test_a_class_offers_its_marked_members_in_their_order() -> None:
    catalog = catalog_of(Notes)
    assert [one.name for one in catalog.tools] == ["search", "put-note", "loose", "made"]
    assert definition(catalog, "search") == {
        "name": "search",
        "title": "Find",
        "description": "Find notes that hold a text.",
        "inputSchema": {
            "type": "object",
            "properties": {"text": {"type": "string", "description": "what to look for"}},
            "required": ["text"],
            "additionalProperties": False,
        },
        "annotations": {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False},
        "execution": {"taskSupport": "optional"},
        "icons": [{"src": "data:,"}],
    }
    assert definition(catalog, "put-note")["description"] == "Keep a note."
    assert definition(catalog, "put-note")["annotations"] == {"destructiveHint": True}
    search, put, *_ = catalog.tools
    assert (search.read_only, search.idempotent) == (True, True)
    assert (put.read_only, put.idempotent) == (False, False)
    assert catalog.completions
    assert catalog.subscriptions
    assert catalog.logging


def test_resources_templates_and_prompts_are_described() -> None:
    catalog = catalog_of(Notes())
    (one,) = catalog.resources
    assert msgspec.json.decode(one.definition) == {
        "uri": "note://all",
        "name": "everything",
        "title": "All",
        "description": "Every note.",
        "mimeType": "text/plain",
        "size": 3,
    }
    (by_template,) = catalog.templates
    assert msgspec.json.decode(by_template.definition) == {
        "uriTemplate": "note://{day}/{+path}",
        "name": "one",
    }
    review, other = (msgspec.json.decode(one.definition) for one in catalog.prompts)
    assert review == {
        "name": "review",
        "description": "Review it.",
        "arguments": [
            {"name": "text", "required": True, "description": "the text"},
            {"name": "tone", "required": False},
        ],
    }
    assert other == {"name": "other", "description": "", "title": "Other"}


def test_a_class_and_its_instance_offer_the_same() -> None:
    assert catalog_of(Notes) == catalog_of(Notes())


def test_what_a_class_offers_is_bound_to_each_instance() -> None:
    one, other = Notes(), Notes()
    offering = offering_of(Notes, where="test")
    assert offering.bound_to(one).tools["search"].function.__self__ is one  # type: ignore[attr-defined]
    assert offering.bound_to(other).tools["search"].function.__self__ is other  # type: ignore[attr-defined]
    assert offering.bound_to(one).tools["made"].function.__self__ is Notes  # type: ignore[attr-defined]
    assert offering.bound_to(one).tools["loose"].function(a=3) == 3
    assert offering.bound_to(one).completion is not None


def test_a_subclass_can_hide_and_add() -> None:
    class More(Notes):
        put = None  # type: ignore[assignment]

        @tool
        def last(self) -> None: ...

    assert [one.name for one in catalog_of(More).tools] == ["search", "loose", "made", "last"]


def test_a_function_without_a_mark_is_one_tool() -> None:
    def shout(text: str) -> str:
        """Say it loudly."""
        return text.upper()

    catalog = catalog_of(shout)
    assert definition(catalog, "shout")["description"] == "Say it loudly."
    assert not catalog.completions
    assert not catalog.subscriptions


def test_a_single_tool_can_be_named_by_the_configuration() -> None:
    def shout(text: str) -> str:
        return text.upper()

    @tool("whisper", read_only=True)
    def quiet(text: str) -> str:
        return text.lower()

    assert list(offering_of(shout, where="x", tool="cry").tools) == ["cry"]
    assert offering_of(quiet, where="x", tool="cry").tools["cry"].mark.annotations
    with pytest.raises(AssemblyError, match="no single tool"):
        offering_of(Notes, where="x", tool="cry")


def test_an_instance_that_can_be_called_is_one_tool() -> None:
    class WordCount:
        """Counts words."""

        def __call__(self, text: str) -> int:
            return len(text.split())

    class Told:
        def __call__(self, text: str) -> int:
            """Counts."""
            return len(text)

    assert definition(catalog_of(WordCount), "word_count")["description"] == "Counts words."
    assert definition(catalog_of(Told()), "told")["description"] == "Counts."
    assert offering_of(WordCount(), where="x").tools["word_count"].function(text="a b") == 2
    bound = offering_of(WordCount, where="x").bound_to(WordCount())
    assert bound.tools["word_count"].function(text="a b c") == 3


def test_a_module_offers_its_marked_functions() -> None:
    module = types.ModuleType("mine")

    @tool
    def one() -> None: ...

    module.one = one  # type: ignore[attr-defined]
    module.helper = print  # type: ignore[attr-defined]
    module.again = Notes  # type: ignore[attr-defined]
    assert [tool.name for tool in catalog_of(module).tools] == ["one"]


def test_a_wrapper_is_awaited_if_either_side_is_asynchronous() -> None:
    async def asynchronous() -> None: ...

    def synchronous() -> None: ...

    @functools.wraps(asynchronous)
    def passing_on() -> Any:
        return asynchronous()

    @functools.wraps(synchronous)
    async def around() -> None: ...

    assert offering_of(passing_on, where="x").tools["asynchronous"].asynchronous
    assert offering_of(around, where="x").tools["synchronous"].asynchronous
    assert not offering_of(synchronous, where="x").tools["synchronous"].asynchronous


def test_an_output_schema_is_given_or_made_of_a_type() -> None:
    class Sum(msgspec.Struct):
        total: int

    @tool(output_schema={"type": "object", "x": 1})
    def by_hand() -> dict[str, int]:
        return {}

    @tool(output_schema=Sum)
    def struct() -> Sum:
        return Sum(1)

    @tool(output_schema=list[Sum])
    def series() -> list[Sum]:
        return []

    def schema(function: Any) -> Any:
        return definition(catalog_of(function), function.__name__)["outputSchema"]

    assert schema(by_hand) == {"type": "object", "x": 1}
    assert schema(struct)["properties"] == {"total": {"type": "integer"}}
    wrapped = schema(series)
    assert wrapped["properties"]["result"]["items"] == {"$ref": "#/$defs/Sum"}
    assert wrapped["required"] == ["result"]
    assert wrapped["$defs"]["Sum"]["required"] == ["total"]


def _refused(target: Any) -> str:
    with pytest.raises(AssemblyError) as caught:
        offering_of(target, where="agent.py")
    assert str(caught.value).startswith("agent.py: ")
    return str(caught.value)


def test_what_cannot_be_offered_is_refused() -> None:
    class Twice:
        @tool("same")
        def one(self) -> None: ...
        @tool("same")
        def other(self) -> None: ...

    class TwoCompletions:
        @completion
        def one(self) -> None: ...
        @completion()
        def other(self) -> None: ...

    @tool
    def generator() -> Any:
        yield 1

    @tool
    async def async_generator() -> Any:
        yield 1

    @tool("no spaces")
    def spaces() -> None: ...

    @tool(output_schema=complex)
    def odd_output() -> None: ...

    @resource("a://b")
    def needy(a: int) -> None: ...

    @template("a://{b}")
    def other(c: int) -> None: ...

    @template("a://{b}")
    def more(b: int, c: int) -> None: ...

    @template("a://{?b}")
    def query(b: int) -> None: ...

    @template("a://{b}/{b}")
    def repeated(b: int) -> None: ...

    @completion
    def completes(value: str) -> None: ...

    @tool
    class NoFunction: ...

    assert "a tool 'same' already" in _refused(Twice)
    assert "a @completion already" in _refused(TwoCompletions)
    assert "is a generator" in _refused(generator)
    assert "is a generator" in _refused(async_generator)
    assert "expected a name of 1 to 128" in _refused(spaces)
    assert "no JSON form" in _refused(odd_output)
    assert "nothing gives it the argument 'a'" in _refused(needy)
    assert "no parameter 'b'" in _refused(other)
    assert "no variable 'c'" in _refused(more)
    assert "only variables such as {id}" in _refused(query)
    assert "the template cannot be used" in _refused(repeated)
    assert "(known: ref, argument, context)" in _refused(completes)
    assert "nothing in it is marked" in _refused(types.ModuleType("empty"))
    assert "nothing in it is marked" in _refused(3)
    assert "nothing in it is marked" in _refused(NoFunction)


def test_what_is_offered_can_change_while_it_runs() -> None:
    added = Offering()
    port = RecordingPort()
    offers = Offers(offering_of(Notes, where="test"), added, "test")
    agent = NativeAgent(port, offers)
    assert (agent.name, agent.worker) == ("mine", "mine/1")

    def late() -> None: ...

    @resource("note://late")
    def more() -> str:
        return ""

    with pytest.raises(RuntimeError):
        agent.offer(late)  # neither in trio nor in a thread of its

    offers.add(late)
    offers.add(more)
    assert [one.name for one in offers.catalog().tools][-1] == "late"
    assert [one.uri for one in offers.catalog().resources] == ["note://all", "note://late"]
    other = Offers(offering_of(Notes, where="test"), added, "test")
    assert other.tool("late") is offers.tool("late")
    with pytest.raises(AssemblyError, match="already"):
        other.add(late)
    with pytest.raises(AssemblyError, match="already"):
        offers.add(Notes().loose)
    offers.remove("late")
    offers.remove("note://late")
    with pytest.raises(KeyError):
        offers.remove("late")
    with pytest.raises(KeyError):
        offers.remove("search")
    assert offers.catalog() == other.catalog()
    assert other.tool("late") is None


async def test_each_change_is_announced() -> None:
    port = RecordingPort()
    agent = NativeAgent(port, Offers(offering_of(Notes, where="test"), Offering(), "test"))

    def late(context: CallContext) -> None: ...

    agent.offer(late)
    agent.withdraw("late")
    assert [len(one.tools) for one in port.catalogs] == [5, 4]
