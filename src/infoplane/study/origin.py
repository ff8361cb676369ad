"""What a study's settings do not say of what it measures: hashes of its data, and of a network that is given to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Origin:
    """Hashes of what settings do not say.

    Attributes:
        data: Of images, labels, groups and levels; "" where nobody asked.
        states: Checkpoint -> of the weights there, of a network that exists in the calling process only.
        layers: Layer -> of that network's activations there, since weights do not tell code and transform.
    """

    data: str = ""
    states: Mapping[str, str] = field(default_factory=dict)
    layers: Mapping[str, str] = field(default_factory=dict)

    def differs(self, there: "Origin") -> str | None:
        """Returns what is another thing in a run there, in a few words; None where both can stand in one folder.

        A checkpoint or a layer that only one of them has is no difference: it is how a run grows.
        """
        if self.data != there.data:
            return "other data"
        for what, own, other in (
            ("checkpoint {} has other weights", self.states, there.states),
            ("layer {} has other activations", self.layers, there.layers),
        ):
            for name in own:
                if name in other and own[name] != other[name]:
                    return f"another network: {what.format(repr(name))}"
        if bool(self.states) != bool(there.states):
            return "another network"
        return None


#: of a study of which only the settings are known
NOTHING_SAID = Origin()
