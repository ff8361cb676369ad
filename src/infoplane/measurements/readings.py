"""What the ways in which layers are read mean for their numbers, and for comparing them."""

from collections.abc import Mapping
from typing import Any

from infoplane.errors import in_words, joined

#: how a layer is read, as `Reading.to_json` writes it; None where that is not known, as of latents
ReadAs = Mapping[str, Any] | None


def flags_of(kind: str, read: ReadAs) -> tuple[str, ...]:
    """Returns what must stand beside a number of a layer that was pooled or projected, or whose reading is a guess.

    The contrastive bound and label information of a projection are lower bounds of the layer's own: h gives its
    projection, so data processing gives I(x;h) ≥ I(x;Ph) and I(y;h) ≥ I(y;Ph). NCE and usable information are said to
    be of the projection.
    """
    if read is None:
        return ()
    found = []
    if read["altered"] is not None and kind in ("nce", "usable"):
        found.append(f"the number is of a projection: this layer is read as {read['words']}")
    if read["guess"] and kind in ("nce", "usable", "contrastive"):
        found.append(f"how its axes lie is a guess: this layer is read as {read['words'].removesuffix(', a guess')}")
    return tuple(found)


def barred(first: str, one: ReadAs, second: str, other: ReadAs) -> str:
    """Returns why nothing may be claimed of the difference of two layers, or "".

    Args:
        first, second: Their names.
        one, other: How they are read.
    """
    guessed = [name for name, read in ((first, one), (second, other)) if read is not None and read["guess"]]
    if guessed:
        named = joined([in_words(name) for name in guessed])
        return f"no claim: how the axes of {named} lie is a guess; say it with read_as"
    altered = [name for name, read in ((first, one), (second, other)) if read is not None and read["altered"]]
    if len(altered) == 1:
        return f"no claim: only {in_words(altered[0])} was pooled or projected, which costs what the other one keeps"
    return ""
