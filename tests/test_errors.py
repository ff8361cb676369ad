"""What an unknown name is answered with."""

import pytest

from infoplane.errors import unknown


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
