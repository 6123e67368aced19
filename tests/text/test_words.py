"""The words of a text: the same in every version of Python, whatever letters it knows."""

from __future__ import annotations

import hashlib

import pytest

from flowcore.text import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t\n .,;!?-", []),
        ("Set_an ALARM, 7am!", ["set_an", "alarm", "7am"]),
        ("don't", ["don", "t"]),
        ("Größe ÄÖÜ", ["größe", "äöü"]),
        ("Привет, МИР!", ["привет", "мир"]),
        ("東京 の天気", ["東京", "の天気"]),
        ("a\u00a0b\u2003c\u2014d\u2026", ["a", "b", "c", "d"]),
        ("e\u0301te\u0301", ["e\u0301te\u0301"]),
        ("\ud800a\udfff b", ["a", "b"]),
        ("\x00a\x85b", ["a", "b"]),
        ("ǅ", ["ǆ"]),
        ("é" * 64 + "ab", ["é" * 64, "ab"]),
    ],
)
def test_words_are_runs_of_letters_marks_and_numbers(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    "character",
    [
        "\u2c2f",  # a capital of Unicode 14, which Python 3.11 would lower
        "\ua7cb",  # one of Unicode 16, which it does not know
        "\U00010d50",  # Garay, of Unicode 16: a capital there
        "\U0001e030",  # Cyrillic of Unicode 15
        "\U0001f600",
    ],
)
def test_what_unicode_learned_later_is_a_letter_without_case(character: str) -> None:
    assert words(f"x{character}Y!") == [f"x{character}y"]


def test_long_texts_of_many_letters_are_taken() -> None:
    every = "".join(map(chr, range(0x3000)))
    assert len(words(every)) > 10
    assert words(every) == words(every.replace("\x80", " "))


def test_every_character_is_taken_as_unicode_3_2_has_it() -> None:
    """The hash is the same under Python 3.11, 3.12 and 3.13, whose own Unicode is 14, 15 and 15.1."""
    whole = hashlib.sha256()
    for first in range(0, 0x110000, 0x1000):
        text = "".join(map(chr, range(first, first + 0x1000)))
        whole.update(" ".join(words(f"{text} é")).encode("utf-8", "surrogatepass"))
    assert whole.hexdigest()[:40] == "b8839f91aea124cf88f451c72ac090d2db84e732"
