"""What is recorded as CUDA graphs repeats only operations on fixed memory; here a tape does what a graph does."""

from collections.abc import Callable, Hashable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from infoplane.densities import PixelCNN, pixelcnn
from infoplane.densities.graphs import Graphs, GraphWarning
from infoplane.densities.incremental import Incremental
from infoplane.densities.incremental_layers import RowConv

CPU = torch.device("cpu")
CONTEXTS = [(None, "resize"), ((5,), "resize"), ((4, 3, 3), "learned"), ((4, 9, 9), "resize"), ((4, 2, 2), "vector")]
#: what a GPU cannot record: numbers that it must wait for, and noise from a generator that no recording knows
FORBIDDEN = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape, torch.Tag.nondeterministic_seeded}


class Tape(TorchDispatchMode):
    """Records operations as a CUDA graph does: which, in which order, on which memory; then nothing has changed yet."""

    def __init__(self, function: Callable[[], None]) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        self.undo: list[tuple[Tensor, Tensor]] = []
        with self:
            function()
        for tensor, before in reversed(self.undo):
            tensor.copy_(before)
        self.undo.clear()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        # `lift_fresh` takes a number from Python to the device.
        assert not FORBIDDEN & set(func.tags), f"a CUDA graph cannot do {func}"
        assert func.overloadpacket is not torch.ops.aten.lift_fresh, "numbers of Python's are no part of a CUDA graph"
        for place, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                written = args[place] if place < len(args) else kwargs[argument.name]
                self.undo.append((written, written.clone()))
        out = func(*args, **kwargs)
        self.operations.append((func, args, kwargs, out))
        return out

    def replay(self) -> None:
        """The same operations, what they made this time in place of what they made then."""
        made: dict[int, Tensor] = {}

        def now(x: Any) -> Any:
            return made.get(id(x), x) if isinstance(x, Tensor) else x

        for func, args, kwargs, out in self.operations:
            again = func(*tree_map(now, args), **tree_map(now, kwargs))
            for old, new in zip(_tensors(out), _tensors(again), strict=True):
                made[id(old)] = new


def _tensors(out: Any) -> list[Tensor]:
    return [out] if isinstance(out, Tensor) else list(out)


class Tapes(Graphs):
    """Graphs whose recordings are tapes; `strict` ones record the very first function of a key already."""

    def __init__(self, strict: bool) -> None:
        super().__init__(CPU)
        self.strict, self.recorded, self.runs = strict, [], 0

    def __call__(self, key: Hashable, function: Callable[[], None]) -> None:
        if self.strict:
            self._replays.setdefault(key, None)
        self.runs += 1
        super().__call__(key, function)

    def _warm_up(self, function: Callable[[], None]) -> None:
        function()

    def _capture(self, function: Callable[[], None]) -> Callable[[], None]:
        self.recorded.append(function)
        return Tape(function).replay


def density(shape=(1, 5, 7), **options) -> PixelCNN:
    """A small density in float64 whose every weight differs from its initial value and which has preferences."""
    torch.manual_seed(0)
    model = PixelCNN(shape, **{"levels": 5, "filters": 6, "residual_layers": 1, "scales": 3, **options}).double().eval()
    for weight in model.parameters():
        weight.data += 0.05 * torch.randn_like(weight)
    for weight in model.likelihood.parameters():
        weight.data *= 5
    return model


def places(thing: Any) -> dict[str, int]:
    """The addresses of all tensors that a thing keeps."""
    if isinstance(thing, Tensor):
        return {"": thing.data_ptr()}
    if isinstance(thing, dict):
        inside = thing.items()
    elif isinstance(thing, list | tuple):
        inside = enumerate(thing)
    elif type(thing).__module__ in (Incremental.__module__, RowConv.__module__):
        inside = vars(thing).items()
    else:
        return {}
    return {f"{name}.{rest}": at for name, value in inside for rest, at in places(value).items()}


def three_ways(model: PixelCNN, monkeypatch, strict: bool, **options) -> tuple[list[Tensor], Tapes]:
    """Samples from the same noise: recorded, cached as it is, and naive; and the tapes."""
    tapes = Tapes(strict)
    drawn = []
    for record, cached in ((tapes, True), (None, True), (None, False)):
        monkeypatch.setattr(pixelcnn, "recorder", lambda device, record=record: record)
        drawn.append(model.sample(generator=torch.Generator().manual_seed(3), cached=cached, **options))
    return drawn, tapes


@pytest.mark.parametrize("at", range(len(CONTEXTS)))
@pytest.mark.parametrize(("shape", "scales"), [((1, 5, 7), 1), ((3, 4, 4), 2), ((1, 9, 6), 3), ((1, 6, 9), 3)])
def test_what_is_recorded_draws_the_same(shape, scales, at, monkeypatch):
    """Every shape with every context, and either with both likelihoods, by turns: these only read the features."""
    context, conditioning = CONTEXTS[at]
    likelihood = ("categorical", "logistic_mixture")[(shape[1] + at) % 2]
    model = density(shape, scales=scales, context=context, conditioning=conditioning, likelihood=likelihood)
    given = None if context is None else torch.randn(3, *context, dtype=torch.float64)
    keep = torch.randint(0, 5, (1, shape[0], 2, shape[2]), dtype=torch.uint8)
    for options in ({}, {"keep": keep, "temperature": 0.7}):
        n = None if context else 3
        drawn, tapes = three_ways(model, monkeypatch, strict=True, context=given, n=n, **options)
        assert torch.equal(drawn[0], drawn[1])
        assert torch.equal(drawn[0], drawn[2])
        assert drawn[0].float().std() > 0
        assert 1 < len(tapes.recorded) < tapes.runs / 2


def test_as_many_recordings_as_there_are_phases(monkeypatch):
    drawn, tapes = three_ways(density((1, 16, 16)), monkeypatch, strict=False, n=2)
    assert torch.equal(drawn[0], drawn[2])
    # Rows: by their coarsest scale. Pixels: by theirs, and on the finer two by whether it is their row's too.
    assert len(tapes.recorded) == 3 + 5


@pytest.mark.parametrize("record", [Tapes(strict=True), None])
@torch.no_grad()
def test_nothing_that_is_kept_ever_moves(record):
    model = density((1, 9, 6), context=(4, 3, 3))
    state = Incremental(model, model._biases(torch.randn(2, 4, 3, 3).double()), 2, record)
    pixel, first = torch.zeros(2, 1, dtype=torch.uint8), None
    for _ in range(9):
        state.begin_row()
        for _ in range(6):
            state.step(pixel.random_(0, 5), lambda features: features[:, :1].sigmoid() * 4)
            now = places(state)
            first = first or now
            assert now == first
    assert len(first) > 100


def test_a_number_that_a_recording_took_from_python_would_be_noticed():
    """The tape can fail: it does not ask Python again."""
    tapes, total = Tapes(strict=True), torch.zeros(1)
    state = {"step": 0, "kept": torch.zeros(1)}

    def baked() -> None:
        total.add_(state["step"])

    def rebound() -> None:
        state["kept"] = state["kept"] + 1

    for step in range(3):
        state["step"] = step
        tapes("baked", baked)
        tapes("rebound", rebound)
    assert total == 0
    assert state["kept"] == 1
    for wrong in (lambda: total.item(), lambda: torch.rand(1), lambda: torch.tensor([1.0])):
        with pytest.raises(AssertionError):
            Tape(wrong)


def test_a_recording_changes_nothing_and_each_run_counts_once():
    tapes, total, asked = Tapes(strict=False), torch.zeros(1), []

    def function() -> None:
        asked.append(float(tapes.runs))
        total.add_(1)

    for _ in range(4):
        tapes("key", function)
    assert total == 4
    assert asked == [1, 2]  # Python is asked when it runs and when it is recorded


class Broken(Tapes):
    """Tapes that break after some recordings."""

    def __init__(self, after: int) -> None:
        super().__init__(strict=False)
        self.after = after

    def _capture(self, function: Callable[[], None]) -> Callable[[], None]:
        if len(self.recorded) < self.after:
            return super()._capture(function)
        try:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        finally:
            raise ValueError("recording was invalidated")


@pytest.mark.parametrize("after", [0, 2])
def test_where_nothing_can_be_recorded_the_samples_are_the_same_and_that_is_said_once(after, monkeypatch):
    model, broken = density((1, 9, 6)), Broken(after)
    monkeypatch.setattr(pixelcnn, "recorder", lambda device: broken)
    expected = r"sampling goes on without: RuntimeError: operation not permitted when stream is capturing$"
    with pytest.warns(GraphWarning, match=expected) as said:
        drawn = model.sample(n=3, generator=torch.Generator().manual_seed(3))
    assert len(said) == 1
    assert len(broken.recorded) == after
    assert torch.equal(drawn, model.sample(n=3, generator=torch.Generator().manual_seed(3), cached=False))


def test_processors_record_nothing_and_gpus_always():
    assert pixelcnn.recorder(CPU) is None
    assert isinstance(pixelcnn.recorder(torch.device("cuda")), Graphs)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("likelihood", ["categorical", "logistic_mixture"])
@pytest.mark.parametrize(("context", "conditioning"), CONTEXTS)
@pytest.mark.parametrize(("shape", "scales"), [((1, 5, 7), 1), ((3, 4, 4), 2), ((1, 10, 9), 3)])
def test_on_a_gpu_graphs_draw_the_same(shape, scales, context, conditioning, likelihood, monkeypatch):
    options = {"scales": scales, "context": context, "conditioning": conditioning, "likelihood": likelihood}
    model = density(shape, **options).cuda()
    given = None if context is None else torch.randn(3, *context, dtype=torch.float64)
    keep = torch.randint(0, 5, (1, shape[0], 1, shape[2]), dtype=torch.uint8)
    drawn = []
    for record, cached in ((True, True), (False, True), (False, False)):
        with monkeypatch.context() as patch:
            if not record:
                patch.setattr(pixelcnn, "recorder", lambda device: None)
            generator = torch.Generator("cuda").manual_seed(3)
            n = None if context else 3
            drawn.append(model.sample(given, n=n, generator=generator, cached=cached, keep=keep, temperature=0.8))
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])
