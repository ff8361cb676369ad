"""What an unknown name is answered with, how numbers are said, and what is text."""

import pytest

from infoplane.errors import (
    UsageError,
    agreed,
    check_text,
    in_words,
    is_text,
    plain,
    plural,
    printable,
    spoken_list,
    unknown,
)


@pytest.mark.parametrize(
    ("received", "legal", "suggested"),
    [
        ("digit", ["digits", "digital"], "did you mean 'digits'?"),  # one letter more
        ("updatess", ["updates", "update"], "did you mean 'updates'?"),  # one less
        ("conv7", ["conv1", "conv2", "convolution"], "did you mean 'conv2' or 'conv1'?"),  # another, in both
        ("shfit", ["shift", "shirt"], "did you mean 'shift'?"),  # two exchanged
        ("labeltop", ["laptop", "label"], "did you mean 'label' or 'laptop'?"),  # none is so near
        ("quality", ["quantity"], "did you mean 'quantity'?"),
        ("evaluate", ["nce", "label", "data"], None),
        ("paper", ["laptop"], None),
    ],
)
def test_only_what_is_near_is_suggested(received, legal, suggested):
    message = str(unknown("name", received, legal, mend="see elsewhere"))
    assert message.endswith(suggested or "see elsewhere")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (30.0, "30"),
        (9.96, "10"),
        (-1234.4, "-1,234"),
        (2.26e14, "2.3e+14"),
        (3.0, "3"),
        (0.25, "0.25"),
        (1e-300, "1e-300"),
    ],
)
def test_whole_numbers_are_said_as_such(value, words):
    assert plain(value) == words


def test_what_is_no_text_is_known_among_all_letters():
    refused = {code for code in range(0x110000) if not is_text(chr(code))}
    controls = {*range(0x20), 0x7F, *range(0x80, 0xA0)} - {9}
    turns = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}
    assert refused == controls | turns | {0x2028, 0x2029} | {*range(0xD800, 0xE000)}


@pytest.mark.parametrize("letter", ["\x1b", "\x9b", "\x7f", "\n", "\r", "\u2028", "\u202e", "\u2066", "\udc80"])
def test_what_is_no_text_is_refused_or_written_out(refuses, letter):
    with refuses("title holds what is no text", ascii(letter), "take"):
        check_text("title", f"a{letter}b")
    written = printable(f"a{letter}b")
    assert written.isprintable()
    assert written.encode().decode("unicode_escape").encode("utf-8", "surrogatepass") == f"a{letter}b".encode(
        "utf-8", "surrogatepass"
    )
    assert str(UsageError("what", received=f"a{letter}b")).isprintable()
    assert check_text("note", "a\nb", lines=True) == "a\nb"


def test_texts_stay_as_they_are():
    for text in (
        "H\u2082 \u00b1 5\u00a0%",
        "\u05d0\u05d1 \u200f",
        "\u0645\u200c\u0645",
        "\U0001f600\u200d\U0001f680",
        "a\tb",
    ):
        assert check_text("title", text) == printable(text) == text


def test_words_agree_with_how_many_they_are_about():
    grey = "are grey: they became RGB, as others are"
    assert agreed(1, grey) == "is grey: it became RGB, as others are"
    assert agreed(2, grey) == grey
    assert [plural(n, "class", "classes") for n in (1, 1000)] == ["1 class", "1,000 classes"]
    assert [plural(n, "image") for n in (0, 1)] == ["0 images", "1 image"]
    assert [spoken_list(parts) for parts in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert [in_words(name) for name in ("fc3", "2", "0.conv")] == ["fc3", "'2'", "'0.conv'"]
