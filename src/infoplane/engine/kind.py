"""What a kind of cell is: its settings, and what computes it."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from infoplane.engine.store import Result


class Kind(BaseModel, ABC):
    """A kind of cell. Its fields are all settings that what it makes and keeps depends on; they are JSON.

    What it needs, the code that `run` runs through and the library that computes count for its name besides.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: how cells of this kind are called
    kind: ClassVar[str]
    #: dotted paths of fields that only say how much of what it makes is kept, see `Cell.keeps`
    keeps: ClassVar[tuple[str, ...]] = ()
    #: the library whose arithmetic its result depends on; torch's is another one on each device
    library: ClassVar[str] = "torch"
    #: whether it needs what exists in the calling process only, a network, where there is such a thing
    live: ClassVar[bool] = False
    #: whether such cells are compared, so that all of them must have been trained for equally long
    compared: ClassVar[bool] = False
    #: whether the time that it takes says how fast the machine is
    timed: ClassVar[bool] = False
    #: the field whose entries are trained together, so that one more moves what all others get
    joint: ClassVar[str] = ""
    #: the array of images, uint8 (P, S, C, H, W), that a watcher may show of its result
    shown: ClassVar[str] = ""

    @abstractmethod
    def run(self, task: Any) -> Result:
        """Computes a cell, from what it needs."""

    def work(self, costs: Any) -> Any:
        """Returns how much there is to compute; None where that is next to nothing."""
        return None

    def size(self, costs: Any) -> float:
        """Returns about how many bytes the result takes on disk."""
        return 0.0
