"""What an unknown name is answered with, and how numbers are said."""

import pytest

from infoplane.errors import plain, unknown


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
