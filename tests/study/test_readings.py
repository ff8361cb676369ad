"""What must be said of numbers because of how a layer is read, and what may not be claimed."""

import pytest

from infoplane.capture import Reading, vector
from infoplane.measurements.densities import barred, flags_of

MAP, VECTOR = Reading((3, 4, 4), (1, 2), (4, 4)).to_json(), vector((7,)).to_json()
GUESS = vector((50, 8), guess=True).to_json()
WIDE, TALL = vector((100_000,)).to_json(), Reading((64, 512, 512), (1, 2), (512, 512)).to_json()


@pytest.mark.parametrize("kind", ["nce", "usable", "contrastive", "cross-entropy"])
def test_flags(kind):
    assert not flags_of(kind, None)
    assert not flags_of(kind, MAP)
    named = [flag.partition(":")[0] for flag in flags_of(kind, WIDE)]
    assert named == ["the number is of a projection"] * (kind in ("nce", "usable"))
    guessed = flags_of(kind, GUESS)
    assert len(guessed) == (kind != "cross-entropy")
    if guessed:
        text = "how its axes lie is a guess: this layer is read as 50×8 flattened to a vector of 400"
        assert guessed == (text,)


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        (MAP, VECTOR, ""),
        (MAP, None, ""),
        (WIDE, TALL, ""),
        (MAP, TALL, "only b was pooled or projected"),
        (WIDE, VECTOR, "only a was pooled or projected"),
        (GUESS, MAP, "how the axes of a lie is a guess"),
        (GUESS, GUESS, "how the axes of a and b lie is a guess"),
    ],
)
def test_what_may_not_be_claimed(one, other, why):
    found = barred("a", one, "b", other)
    assert (why in found) if why else found == ""
