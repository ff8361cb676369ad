"""Layers whose values are no floating point numbers: what is captured, and in how many states they can be."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from infoplane import measure
from infoplane.capture import capture, list_layers

#: every pattern of eight bits
BYTES = torch.arange(256, dtype=torch.uint8)


class Make(nn.Module):
    """A module that makes something of its input."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "states"),
    [
        (lambda x: x > 100, 2),
        (lambda x: x.to(torch.uint8), 256),
        (lambda x: (x - 128).to(torch.int8), 256),
        (lambda x: torch.quantize_per_tensor(x, 0.5, 7, torch.quint8), 256),
        (lambda x: torch.quantize_per_tensor(x - 128, 0.5, 0, torch.qint8), 256),
        (lambda x: x.to(torch.uint8).view(torch.float8_e5m2), 256),
    ],
    ids=["bool", "uint8", "int8", "quint8", "qint8", "float8"],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_states_by_enumeration(function, states):
    """A unit that takes every value of eight bits: as many states as the listing says, and the values themselves."""
    model, x = nn.Sequential(Make(lambda x: x), Make(function)), BYTES.float()[:, None]
    info = list_layers(model, x)[1]
    assert (info.name, info.shape, info.problem, 2**info.bits) == ("1", (1,), None, states)
    (found,) = capture(model, ["1"], [x])
    made = function(x)
    plain = made.dequantize() if made.is_quantized else made.float()
    assert found["1"].dtype == torch.float32
    assert torch.equal(found["1"].nan_to_num(-1e9), plain.nan_to_num(-1e9))
    bits = made.int_repr() if made.is_quantized else made if made.dtype == torch.bool else made.view(torch.uint8)
    assert len(bits.unique()) <= states
    assert len(plain.unique()) <= states


def test_wider_numbers_have_the_bits_of_their_memory():
    given = {torch.int16: 16, torch.int32: 32, torch.float16: 16, torch.bfloat16: 16, torch.float32: 32}
    for dtype, bits in (given | {torch.float64: 64, torch.qint32: 32}).items():
        quantised = dtype == torch.qint32
        model = Make(lambda x, d=dtype, q=quantised: torch.quantize_per_tensor(x, 0.1, 0, d) if q else x.to(d))
        (info,) = list_layers(model, torch.rand(4, 3))
        assert (info.bits, info.problem) == (bits, None)


def test_positions_and_classes_are_no_activations():
    (info,) = list_layers(Make(lambda x: x.argsort(1)), torch.rand(4, 3))
    assert info.problem == "its values are torch.int64, not floating point"
    (info,) = list_layers(Make(lambda x: x * 1j), torch.rand(4, 3))
    assert info.problem == "its values are torch.complex64, not floating point"


class OnAGrid(nn.Module):
    """What quantisation-aware training does: numbers on a grid. As torch.ao's, but without an observer."""

    def __init__(self, least: int, most: int, enabled: bool = True) -> None:
        super().__init__()
        self.quant_min, self.quant_max = least, most
        self.register_buffer("fake_quant_enabled", torch.tensor([int(enabled)], dtype=torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        return torch.fake_quantize_per_tensor_affine(x, 0.01, 0, self.quant_min, self.quant_max)


@pytest.mark.parametrize(("least", "most"), [(0, 127), (-8, 7), (0, 5), (-128, 127)])
def test_a_grid_has_the_states_of_its_steps(least, most):
    x = torch.linspace(-5, 5, 4001)[:, None]
    (info,) = list_layers(OnAGrid(least, most), x)
    steps = most - least + 1
    (found,) = capture(OnAGrid(least, most), ["output"], [x])
    assert len(found["output"].unique()) == steps
    assert steps <= 2**info.bits < 2 * steps
    assert list_layers(OnAGrid(least, most, enabled=False), x)[0].bits == 32


class Binary(nn.Module):
    """Three units that say whether the image is bright there."""

    def __init__(self) -> None:
        super().__init__()
        self.bright, self.out = Make(lambda x: x.flatten(1)[:, :3] > 0.5), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.bright(x).float())


def test_a_layer_of_truth_values_cannot_hold_more_than_their_number(tmp_path):
    """Three units of two states: 3 log 2, which the capture stores, and the networks' own float32 beside it."""
    images = np.random.default_rng(0).integers(0, 4, (60, 1, 4, 4), dtype=np.uint8)
    profile = measure(
        Binary(),
        images,
        layers=["bright", "out"],
        levels=4,
        budget=2,
        refits=1,
        workers=0,
        kinds=["nce"],
        quiet=True,
        density="pixelcnn",
    )
    states = profile._results.cell("capture").values["states"]
    assert states == {"bright": pytest.approx(3 * math.log(2)), "out": pytest.approx(64 * math.log(2))}
    assert profile._results.ceiling("bright") <= 3 * math.log(2)
