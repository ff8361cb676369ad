"""Earlier states of one's own network, from which it is measured through training."""

import copy
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from infoplane.errors import UsageError
from infoplane.files import open_regular
from infoplane.subjects.kept import cast, imaginary, misfit, weights_in

#: what the network as it is is called among its checkpoints
LAST = "end"
#: what a checkpoint may be called, which becomes part of file names; and one that is a count of updates or epochs
NAME, COUNT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,39}"), re.compile(r"\d+(\.\d+)?")
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
            "state_dict", "model", "net" and the like, at whatever depth; or a file of safetensors. In training order;
            names are as a rule counts of updates or epochs. The model itself is the last checkpoint, "end". A prefix
            that all of the model's weights have in the file and none in the model, as wrappers put it there, is taken
            off, and what lies beside it left out; one that all have in the model is added.
        quiet: Whether not to say on standard error where weights were found, and what was left out.

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
        content = _read(given) if isinstance(given, str | Path) else given
        if not isinstance(content, Mapping | list | tuple):
            mend = "pass its state_dict()" if isinstance(content, nn.Module) else None
            received = type(content).__name__
            raise UsageError(f"checkpoint {name!r} cannot be used", received=received, legal=LEGAL, mend=mend)
        state, words = _state(model, content, name)
        if words and not quiet:
            print(f"checkpoint {name!r}: {'; '.join(words)}", file=sys.stderr)
        found[name] = state
    counts = [float(name) for name in found if COUNT.fullmatch(name)]
    if counts != sorted(counts):
        raise UsageError("checkpoints are not in training order", received=", ".join(found), legal="counts that rise")
    return found


def _state(model: nn.Module, content: Any, name: str) -> tuple[dict[str, Any], list[str]]:
    """The weights of a checkpoint, tried on the model, and what was done to find them."""
    own = model.state_dict()
    found = weights_in(content, own, name)
    state = {key: value.detach().clone() if isinstance(value, Tensor) else value for key, value in found.state.items()}
    words, wrong = found.words, misfit(state, own)
    what, mend = f"checkpoint {name!r} does not fit the model", "give a state dict of this very model"
    if any(imaginary(x, own.get(key)) for key, x in state.items()):
        raise UsageError(what, received=wrong, mend=mend)
    named = bool(own.keys() & state.keys())
    before = {} if named else copy.deepcopy(own)
    try:
        with holding(model, state):
            now = model.state_dict()
            taken = named or any(isinstance(x, Tensor) and not torch.equal(x, now[key]) for key, x in before.items())
    except Exception as error:
        # Whatever a model's own loading raises; torch's list of names is put into fewer words.
        received = wrong or textwrap.shorten(f"{type(error).__name__}: {error}", 300, placeholder=" …")
        raise UsageError(what, received=received, mend=mend) from error
    if own and not taken:  # a loader that takes whatever fits took nothing
        raise UsageError(what, received=wrong, mend=mend)
    return state, [*words, *cast(state, own)]


def _read(path: str | Path) -> Any:
    try:
        with open_regular(path) as file:
            header = file.read(9)
        if header[8:] == b"{":  # after the length of the table of contents: safetensors
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        legal = "a file that torch.save wrote of a state dict"
        if isinstance(error, FileNotFoundError):
            mend = "there is no such file"
        elif not Path(path).is_file():
            mend = "it is no regular file"
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
