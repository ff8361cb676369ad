"""Earlier states of one's own network, from which it is measured through training."""

import copy
import re
from collections.abc import Mapping
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
WRAPPED = ("state_dict", "model_state_dict", "model")
LEGAL = "name in training order -> state dict of the model, or a file of one"


def load_states(model: nn.Module, checkpoints: Any) -> dict[str, dict[str, Tensor]]:
    """Returns the state dict of every checkpoint, all tried on one copy of the model.

    Args:
        checkpoints: Name -> state dict, or path of a file that `torch.save` wrote of one, alone or under the key
            "state_dict", "model_state_dict" or "model". In training order; names are as a rule counts of updates or
            epochs. The model itself is the last checkpoint, "end".

    Raises:
        UsageError: A name cannot be used, a file cannot be read, or the weights are not this model's.
    """
    if not isinstance(checkpoints, Mapping):
        raise UsageError("checkpoints cannot be used", received=type(checkpoints).__name__, legal=LEGAL)
    found, tried = {}, copy.deepcopy(model)
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
        try:
            tried.load_state_dict(state)
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
        missing = isinstance(error, FileNotFoundError)
        reason = "there is no such file" if missing else f"it holds something else ({type(error).__name__})"
        legal = "a file that torch.save wrote of a state dict"
        raise UsageError("cannot read the checkpoint", received=path, legal=legal, mend=reason) from error
