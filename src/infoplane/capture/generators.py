"""Random generators, torch's, numpy's, Python's and a network's own: seeded for a while, and then as they were."""

import functools
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from infoplane.arguments import Seed, checked


class RandomStream:
    """A context with a random stream of its own, torch's, numpy's and Python's.

    It starts where the caller's is and goes on from use to use.
    """

    state: tuple[list[Tensor], Any, Any] | None = None

    def __enter__(self) -> None:
        self.callers = self.read()
        self.write(self.state or self.callers)

    def __exit__(self, *_: object) -> None:
        self.state = self.read()
        self.write(self.callers)

    @staticmethod
    def moved(start: tuple[list[Tensor], Any, Any]) -> bool:
        """Whether random numbers were drawn since the states were read."""
        now = RandomStream.read()
        torchs, numpys = zip(start[0], now[0], strict=False), zip(start[1], now[1], strict=True)
        same = all(torch.equal(*pair) for pair in torchs) and all(np.array_equal(*pair) for pair in numpys)
        return not same or start[2] != now[2]

    @staticmethod
    def read() -> tuple[list[Tensor], Any, Any]:
        on_gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else ()
        return [torch.get_rng_state(), *on_gpu], np.random.get_state(), random.getstate()

    @staticmethod
    def write(state: tuple[list[Tensor], Any, Any]) -> None:
        torch.set_rng_state(state[0][0])
        for index, cuda_state in enumerate(state[0][1:]):
            torch.cuda.set_rng_state(cuda_state, index)
        np.random.set_state(state[1])
        random.setstate(state[2])


@checked
@contextmanager
def seeded(seed: Seed) -> Iterator[None]:
    """While active, randomness is that of a seed, torch's, numpy's and Python's; the caller's does not move."""
    with RandomStream():
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        yield


@contextmanager
def generators_reseeded(model: nn.Module) -> Iterator[None]:
    """While active, every generator that a module of the model holds is seeded from torch's; then its state comes back.

    So a layer that draws from a generator of its own is as random as one that draws from torch's, and the same seed
    gives the same draws. Generators are found as attributes of modules, in lists, tuples and mappings too; those that
    a module only reaches elsewhere, as in another file's globals, are not.
    """
    with ExitStack() as stack:
        for generator in _generators(model):
            stack.callback(_reseed(generator))
        yield


def _generators(model: nn.Module) -> list[Any]:
    """The generators of torch, numpy and Python that modules hold, each once, in the order of the modules."""
    found: dict[int, Any] = {}
    for module in model.modules():
        for name, value in vars(module).items():
            if name not in ("_parameters", "_buffers", "_modules") and _holds(type(value)):
                for each in _within(value, depth=3):
                    found[id(each)] = each
    return list(found.values())


def _within(value: Any, depth: int) -> Iterator[Any]:
    """The generators that a value is, or holds."""
    kind = _holds(type(value))
    if kind == "generator":
        yield value
    elif depth and kind:
        for each in value.values() if kind == "mapping" else value:
            yield from _within(each, depth - 1)


@functools.lru_cache(maxsize=1024)
def _holds(kind: type) -> str:
    """Whether values of a type are generators, or may hold some: as every attribute is asked in every run, by type."""
    if issubclass(kind, torch.Generator | np.random.Generator | np.random.RandomState | random.Random):
        return "generator"
    return "mapping" if issubclass(kind, Mapping) else "row" if issubclass(kind, list | tuple) else ""


def _reseed(generator: Any) -> Callable[[], object]:
    """Seeds a generator from torch's; returns what puts it back into the state that it had."""
    if isinstance(generator, torch.Generator):
        saved = generator.get_state()
        generator.manual_seed(_drawn_seed())
        return lambda: generator.set_state(saved)
    if isinstance(generator, np.random.Generator):
        bits, state = generator.bit_generator, generator.bit_generator.state
        bits.state = type(bits)(_drawn_seed()).state
        return lambda: setattr(bits, "state", state)
    if isinstance(generator, np.random.RandomState):
        legacy = generator.get_state()
        generator.seed(_drawn_seed())
        return lambda: generator.set_state(legacy)
    state = generator.getstate()
    generator.seed(_drawn_seed())
    return lambda: generator.setstate(state)


def _drawn_seed() -> int:
    return int(torch.randint(2**31, ()))
