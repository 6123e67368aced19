"""What is read from docstrings."""

from __future__ import annotations

from flowcore.native.docstrings import described


def test_nothing_says_nothing() -> None:
    assert described(None) == ("", {})
    assert described("") == ("", {})


def test_googles_sections_are_taken_out_of_the_text() -> None:
    text, said = described(
        """Find notes.

        More about it.

        Args:
            text: what to look for,
                anywhere in a note
            limit (int): how many at most

        Returns:
            the notes
        """
    )
    assert text == "Find notes.\n\nMore about it.\n\nReturns:\n    the notes"
    assert said == {
        "text": "what to look for, anywhere in a note",
        "limit": "how many at most",
    }


def test_sphinxs_fields_are_taken_out_of_the_text() -> None:
    text, said = described(
        """Find notes.

        :param str text: what to look for,
            anywhere
        :param limit: how many at most
        :returns: the notes
        """
    )
    assert text == "Find notes.\n\n:returns: the notes"
    assert said == {"text": "what to look for, anywhere", "limit": "how many at most"}


def test_a_parameter_of_which_nothing_is_said_is_left_out() -> None:
    assert described("X.\n\nArgs:\n    a:\n    b: something")[1] == {"b": "something"}


def test_prose_with_colons_is_prose() -> None:
    text, said = described("Note: this is it.\n\n        indented: x\n\n    Not.")
    assert text == "Note: this is it.\n\n    indented: x\n\nNot."
    assert said == {}
