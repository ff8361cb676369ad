"""What must be said of densities because of how their training went."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from infoplane.engine.store import Stored

#: a last stretch of training that lowered the held-out loss by this share of it is pointed out
FALLING = 0.005
#: the words of that
STILL_FELL = "the held-out loss still fell at the end: more updates would help"
#: a held-out loss this much above the training loss (share of it) is pointed out
OVERFIT = 0.1


def flags_of_fits(fits: Sequence[Stored]) -> tuple[str, ...]:
    """What must be said of densities: that they know their training data too well, or were still getting better."""
    fitted = [stored.values for stored in fits]
    overfit = any(each["heldout_nats"] - each["train_nats"] > OVERFIT * each["train_nats"] for each in fitted)
    flags = ("q fits its training data better than held-out data: more data would help",) if overfit else ()
    return flags + ((STILL_FELL,) if any(still_falling(each["curve"]) for each in fitted) else ()) + unread(fits)


def unread(fits: Sequence[Stored]) -> tuple[str, ...]:
    """What must be said of conditional densities that no update made better: they use nothing of their context."""
    lost = sum(
        stored.values.get("context") is not None and stored.values["curve"]["best_update"] == 0 for stored in fits
    )
    text = f"in {lost} of {len(fits)} fits no update helped on held-out images: q is as it started and ignores h"
    return (text,) if lost else ()


def still_falling(curve: dict[str, Any]) -> bool:
    """Whether the last stretch between two evaluations lowered the held-out loss by more than a share of it."""
    best = np.fmin(curve["heldout"], curve["heldout_ema"])
    return len(best) > 1 and bool(best[-2] - best[-1] > FALLING * abs(best[-1]))
