"""Earlier states of one's own network, from which it is measured through training, in what a training script kept."""

import copy
import math
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from infoplane.errors import UsageError
from infoplane.files import open_regular

#: what the network as it is is called among its checkpoints
LAST = "end"
#: what a checkpoint may be called, which becomes part of file names; and one that is a count of updates or epochs
NAME, COUNT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,39}"), re.compile(r"\d+(\.\d+)?")
LEGAL = "name in training order -> state dict of the model, or a file of one"
#: how deep weights may be nested, and how many places are looked at
DEEPEST, MOST_PLACES = 6, 1000
#: what modules keep beside tensors, as the last part of its name
EXTRA = "_extra_state"
#: what batch norms count, which old files lack and torch then sets
COUNTED = "num_batches_tracked"
#: most names that a message shows
SHOWN = 6


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


@dataclass(frozen=True)
class Found:
    """Weights under the model's names.

    Attributes:
        place: Where they lay, as it would be written in Python; "" where the content is they.
        taken, added: What was taken off the front of all names, and put there instead.
        left_out: Names beside them that are no weights of this model.
    """

    state: dict[str, Any]
    place: str = ""
    taken: str = ""
    added: str = ""
    left_out: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        """What was done to find them."""
        return [
            *([f"weights taken from {self.place}"] if self.place else []),
            *([f"prefix {self.taken!r} taken off the names of all weights"] if self.taken else []),
            *([f"prefix {self.added!r} added to all names"] if self.added else []),
            *([f"left out, as none of the model's: {first_of(self.left_out)}"] if self.left_out else []),
        ]


def weights_in(content: Any, own: Mapping[str, Any], checkpoint: str) -> Found:
    """Returns the weights of a model in what was kept of it.

    Looked at is every mapping in the content, and under any prefix that stands before all the model's own names. Names
    and sizes decide. What lies beside the prefix is left out.

    Args:
        content: A state dict, or mappings and lists that hold one.
        own: The model's own state dict.
        checkpoint: What messages call it.

    Raises:
        UsageError: There are several that fit and differ, or there is nothing that could be meant.
    """
    places = [(place, mapping) for place, mapping in _mappings(content) if any(map(_is_weight, mapping.values()))]
    wanted = {name: x for name, x in own.items() if isinstance(x, Tensor)}
    for sizes in (True, False):
        found = _distinct([each for place, mapping in places for each in _fitting(place, mapping, wanted, sizes)])
        if len(found) > 1:
            mend = "keep the one that is meant alone: torch.save(torch.load(file)[…], other_file)"
            fronts = [f" under {each.taken!r}" if each.taken else "" for each in found]
            received = first_of([(each.place or "the file itself") + front for each, front in zip(found, fronts)])
            raise UsageError(
                f"checkpoint {checkpoint!r} holds several networks' weights", received=received, legal="one", mend=mend
            )
        if found:
            return found[0]
    if not wanted and isinstance(content, Mapping):
        return Found({str(name): x for name, x in content.items()})
    shared = [(place, mapping) for place, mapping in places if wanted.keys() & mapping.keys()]
    # A loader of the model's own may know other names.
    meant = shared if len(shared) == 1 else places
    if len(meant) == 1 and all(isinstance(name, str) for name in meant[0][1]):
        place, mapping = meant[0]
        ways = [_under(place, mapping, front, own) for front in _fronts(list(mapping))]
        return next((way for way in ways if wanted.keys() & way.state.keys()), ways[0])
    raise UsageError(
        f"checkpoint {checkpoint!r} does not fit the model",
        received=_outline(content),
        legal=f"a state dict with {first_of(list(own))}",
        mend="keep model.state_dict() alone: torch.save(model.state_dict(), …)",
    )


def misfit(state: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Returns in what a state dict's names, sizes and types are not those of a model's own, or ""."""
    lacking = [name for name, x in own.items() if name not in state and isinstance(x, Tensor) and not _counted(name)]
    more = [name for name in state if name not in own]
    pairs = [(name, x, own[name]) for name, x in state.items() if isinstance(own.get(name), Tensor)]
    other = [
        f"{name} of {_size(x)} instead of {_size(mine)}"
        for name, x, mine in pairs
        if not isinstance(x, Tensor) or x.shape != mine.shape
    ]
    numbers = [
        f"{name} of {x.dtype} instead of {mine.dtype}".replace("torch.", "")
        for name, x, mine in pairs
        if imaginary(x, mine)
    ]
    bare = [name for name, x, mine in pairs if isinstance(x, Tensor) and x.is_meta and not mine.is_meta]
    parts = {"it lacks": lacking, "it has also": more, "it has": [*other, *numbers], "without values:": bare}
    return "; ".join(f"{words} {first_of(names)}" for words, names in parts.items() if names)


def cast(state: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """Returns what becomes of numbers that the model keeps as another kind: whole ones, or floating point."""
    pairs = [(name, x, own[name]) for name, x in state.items() if isinstance(x, Tensor) and name in own]
    real = [(name, x, mine.is_floating_point()) for name, x, mine in pairs if isinstance(mine, Tensor)]
    whole = [name for name, x, floating in real if floating and not x.is_floating_point()]
    cut = [
        name for name, x, floating in real if not floating and x.is_floating_point() and bool((x != x.trunc()).any())
    ]
    return [
        *([f"whole numbers, which the model has as floating point: {first_of(whole)}"] if whole else []),
        *([f"cut to whole numbers, as the model has them: {first_of(cut)}"] if cut else []),
    ]


def imaginary(given: Any, own: Any) -> bool:
    """Whether complex weights are kept for what is real in the model."""
    return isinstance(given, Tensor) and isinstance(own, Tensor) and given.is_complex() and not own.is_complex()


def first_of(names: Any) -> str:
    """The first of some names, and how many there are."""
    shown = ", ".join(map(str, names[:SHOWN]))
    return shown if len(names) <= SHOWN else f"{shown}, … ({len(names):,} in all)"


def _mappings(content: Any) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Every mapping in the content with where it lies, from outside in."""
    waiting, seen = [("", content)], 0
    for _ in range(DEEPEST):
        inner: list[tuple[str, Any]] = []
        for place, value in waiting:
            if seen >= MOST_PLACES:
                return
            if isinstance(value, Mapping):
                seen += 1
                yield place, value
                inner += [(f"{place}[{key!r}]", each) for key, each in value.items()]
            elif isinstance(value, list | tuple):
                inner += [(f"{place}[{i}]", each) for i, each in enumerate(value[:MOST_PLACES])]
        waiting = inner


def _is_weight(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind in "biufc")


def _fitting(place: str, mapping: Mapping[Any, Any], wanted: Mapping[str, Tensor], sizes: bool) -> list[Found]:
    """The ways to read a mapping as all weights of the model: from longer names, or else from shorter ones."""
    needed = [name for name in wanted if not _counted(name)] or list(wanted)
    names = [name for name in mapping if isinstance(name, str)]
    there = set(names)
    for added in _fronts(needed) if needed else ():
        short = {name: name.removeprefix(added) for name in needed}
        anchor = max(short.values(), key=len)
        prefixes = [name.removesuffix(anchor) for name in names if name == anchor or name.endswith(f".{anchor}")]
        whole = [prefix for prefix in prefixes if all(prefix + name in there for name in short.values())]
        ways = [
            _under(place, mapping, prefix, wanted, added)
            for prefix in whole
            if not sizes or all(_size(mapping[prefix + short[name]]) == _size(wanted[name]) for name in needed)
        ]
        if ways:
            return ways
    return []


def _under(place: str, mapping: Mapping[Any, Any], prefix: str, own: Mapping[str, Any], added: str = "") -> Found:
    """What a mapping has under a prefix, by the model's names, and the names of what else it has."""
    state: dict[str, Any] = {}
    left_out = []
    for name, value in mapping.items():
        inside = isinstance(name, str) and name.startswith(prefix)
        short = added + name.removeprefix(prefix) if inside else ""
        if inside and (_is_weight(value) or short in own or short.rpartition(".")[2] == EXTRA):
            state[short] = torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value
        else:
            left_out.append(str(name))
    return Found(state, place, prefix, added, tuple(left_out))


def _fronts(names: list[str]) -> list[str]:
    """The fronts, ending in a dot, that all names have, the empty one first."""
    parts = names[0].split(".")
    fronts = [".".join(parts[:count]) + "." for count in range(1, len(parts))]
    return ["", *(front for front in fronts if all(name.startswith(front) for name in names))]


def _distinct(found: list[Found]) -> list[Found]:
    """Those of which no other has the same values."""
    kept: list[Found] = []
    for each in found:
        if not any(_equal(each.state, other.state) for other in kept):
            kept.append(each)
    return kept


def _equal(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return first.keys() == second.keys() and all(
        isinstance(x, Tensor) and isinstance(y := second[name], Tensor) and x.dtype == y.dtype and torch.equal(x, y)
        if isinstance(x, Tensor) and not x.is_meta
        else x is second[name]
        for name, x in first.items()
    )


def _counted(name: str) -> bool:
    return name.rpartition(".")[2] == COUNTED


def _size(value: Any) -> str:
    if not hasattr(value, "shape"):
        return f"a {type(value).__name__}"
    return "×".join(map(str, value.shape)) if math.prod(value.shape) != 1 or len(value.shape) else "one number"


def _outline(content: Any) -> str:
    """What there is instead of weights, in words."""
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    if not content:
        return "nothing"
    inside = [key for key, value in content.items() if isinstance(value, Mapping)]
    words = f"the keys {first_of([repr(key) for key in content])}"
    if inside and len(content) <= SHOWN and content[inside[0]]:
        words += f" ({inside[0]!r} has {first_of([repr(key) for key in content[inside[0]]])})"
    return words
