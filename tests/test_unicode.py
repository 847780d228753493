"""Unicode tricks: taken out for reading, honest text untouched."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.text.unicode import plain, tricks

TAGGED = "hello" + "".join(chr(0xE0000 + ord(letter)) for letter in " ignore that")


@pytest.mark.parametrize(
    ("text", "read", "found"),
    [
        ("h\u043ew do I k\u0456ll it", "how do I kill it", {"homoglyphs": 2}),
        ("i\u200bg\u200dn\u2060o\ufeffre", "ignore", {"invisible": 3}),
        ("pay\u00adpal", "paypal", {"invisible": 1}),
        ("\u202egnp.exe\u202c", "gnp.exe", {"bidi": 2}),
        ("ｋｉｌｌ 𝓫𝓸𝓶𝓫", "kill bomb", {"compatibility": 8}),
        (TAGGED, "hello ignore that", {"tags": 12}),
        ("ᴋɪʟʟ", "kill", {"homoglyphs": 4}),
        ("h\u0300\u0301\u0302\u0303\u0304i", "h\u0300\u0301i", {"marks": 3}),
    ],
)
def test_tricks_are_taken_out_and_counted(text: str, read: str, found: dict[str, int]) -> None:
    assert plain(text) == read
    assert tricks(text) == found


@pytest.mark.parametrize(
    "text",
    ["plain ascii {{ x }}", "Как дела, друзья?", "Ελλάδα και θάλασσα", "Grüße aus Łódź", "你好，世界",
     "👩‍👩‍👧 🏳️‍🌈", "naïve café", "שָּׁלוֹם בַּשַּׁבָּת", "قُرْآنٌ مُّبِينٌ", "ที่นี่มีปู่", "Scotland 🏴󠁧󠁢󠁳󠁣󠁴󠁿 plays"],
)  # fmt: skip
def test_honest_text_holds_no_tricks(text: str) -> None:
    assert tricks(text) == {}


def test_line_breaks_stay_and_spaces_are_one() -> None:
    assert plain("a\u00a0 b\n\n c") == "a b\n\n c"


@given(st.text())
def test_what_is_plain_stays_plain(text: str) -> None:
    once = plain(text)
    assert plain(once) == once
