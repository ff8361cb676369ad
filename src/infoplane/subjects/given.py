"""Earlier states of one's own network, from which it is measured through training."""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from infoplane.errors import UsageError

#: what the network as it is is called among its checkpoints
LAST = "end"
#: what a checkpoint may be called, which becomes part of file names; and one that is a count of updates or epochs
NAME, COUNT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,39}"), re.compile(r"\d+(\.\d+)?")
#: keys under which training scripts keep a model's weights beside other things
WRAPPED = ("state_dict", "model_state_dict", "model", "net", "network", "model_state", "net_state_dict", "weights")
LEGAL = "name in training order -> state dict of the model, or a file of one"


@contextmanager
def holding(model: nn.Module, state: Mapping[str, Tensor]) -> Iterator[None]:
    """While active, a model has other weights; afterwards its own again."""
    own = {name: x.detach().clone() if isinstance(x, Tensor) else x for name, x in model.state_dict().items()}
    try:
        model.load_state_dict(dict(state))
        yield
    finally:
        model.load_state_dict(own)


def load_states(model: nn.Module, checkpoints: Any, *, quiet: bool = False) -> dict[str, dict[str, Tensor]]:
    """Returns the state dict of every checkpoint, all tried on the model, which gets its own weights back.

    Args:
        checkpoints: Name -> state dict, or path of a file that `torch.save` wrote of one, alone or under the key
            "state_dict", "model", "net" and the like. In training order; names are as a rule counts of updates or
            epochs. The model itself is the last checkpoint, "end". A prefix that all weights have in the file and none
            in the model, as wrappers put it there, is taken off; one that all have in the model is added.
        quiet: Whether not to say on standard error which prefix that was.

    Raises:
        UsageError: A name cannot be used, a file cannot be read, or the weights are not this model's.
    """
    if not isinstance(checkpoints, Mapping):
        raise UsageError("checkpoints cannot be used", received=type(checkpoints).__name__, legal=LEGAL)
    found: dict[str, dict[str, Tensor]] = {}
    for key, given in checkpoints.items():
        name = str(key)
        if not NAME.fullmatch(name) or name == LAST or name in found:
            legal = f"distinct names of letters, digits, . _ - other than {LAST!r}, which is the model itself"
            raise UsageError("checkpoints cannot be told apart", received=repr(name), legal=legal)
        state = _read(given) if isinstance(given, str | Path) else given
        state = next((state[key] for key in WRAPPED if isinstance(state, Mapping) and key in state), state)
        if not isinstance(state, Mapping):
            raise UsageError(f"checkpoint {name!r} cannot be used", received=type(state).__name__, legal=LEGAL)
        state = {weight: value.detach().clone() for weight, value in state.items() if isinstance(value, Tensor)}
        state, said = _fitted(state, model.state_dict().keys())
        if said and not quiet:
            print(f"checkpoint {name!r}: {said}", file=sys.stderr)
        try:
            with holding(model, state):
                pass
        except Exception as error:
            # Whatever a model's own loading raises; its lines become one.
            received = " ".join(str(error).split())[:160]
            mend = "give a state dict of this very model"
            raise UsageError(f"checkpoint {name!r} does not fit the model", received=received, mend=mend) from error
        found[name] = state
    counts = [float(name) for name in found if COUNT.fullmatch(name)]
    if counts != sorted(counts):
        raise UsageError("checkpoints are not in training order", received=", ".join(found), legal="counts that rise")
    return found


def _read(path: str | Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        legal = "a file that torch.save wrote of a state dict"
        if isinstance(error, FileNotFoundError):
            mend = "there is no such file"
        elif (
            other := re.search(r"(?:GLOBAL|Unsupported (?:class|global):?(?: GLOBAL)?) `?([\w.]+)", str(error))
        ) is not None:
            mend = (
                f"it holds {other[1]}, which torch.load(…, weights_only=True) refuses, since it would run code: "
                "torch.save(model.state_dict(), …) keeps the weights alone"
            )
        else:
            mend = f"it holds something else ({type(error).__name__}); weights_only=True is how it was read"
        raise UsageError("cannot read the checkpoint", received=path, legal=legal, mend=mend) from error


def _fitted(state: dict[str, Tensor], own: Iterable[str]) -> tuple[dict[str, Tensor], str]:
    """Returns the weights under the model's names, where one prefix is all that is between, and what was done."""
    wanted, prefix = set(own), ""
    if not state or not wanted or wanted & state.keys():
        return state, ""
    stripped = dict(state)
    while not wanted & stripped.keys():
        first = {name.partition(".")[0] for name in stripped}
        if len(first) != 1 or not all("." in name for name in stripped):
            break
        prefix += f"{first.pop()}."
        stripped = {name.removeprefix(prefix): value for name, value in state.items()}
    if wanted & stripped.keys():
        return stripped, f"prefix {prefix!r} taken off the names of all weights"
    parts = next(iter(sorted(wanted))).split(".")
    for count in range(1, len(parts)):
        prefix = ".".join(parts[:count]) + "."
        if all(name.startswith(prefix) for name in wanted) and {prefix + name for name in state} & wanted:
            return {prefix + name: value for name, value in state.items()}, f"prefix {prefix!r} added to all names"
    return state, ""
