"""In what a training step's products are computed, on whatever processor the tests run."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from infoplane import data, densities
from infoplane.densities import Autoregressive
from infoplane.inversion import FitSettings, Pairs, Reconstructor, SquaredError, fit, fit_density, fit_shared, precision
from infoplane.inversion.precision import best_precision, flags, is_wide, precision_of

CPU = torch.device("cpu")
X86 = """processor\t: 0
vendor_id\t: GenuineIntel
flags\t\t: fpu avx2 avx512f {first}
bugs\t\t: bf16
processor\t: 1
flags\t\t: fpu avx2 avx512f {second}
"""
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd {first}\nCPU part\t: 0xd40\n"


@pytest.fixture
def processor(monkeypatch):
    """Makes this machine one whose processors have these flags."""

    def make(*names):
        monkeypatch.setattr(precision, "flags", lambda: frozenset(names))
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)

    return make


@pytest.mark.parametrize(
    ("text", "computes"),
    [
        (X86.format(first="avx512_bf16", second="avx512_bf16"), True),
        (X86.format(first="amx_bf16 amx_tile", second="amx_bf16"), True),
        (X86.format(first="amx_tile", second="amx_tile"), False),
        (X86.format(first="avx512_bf16", second=""), False),  # work may land on any of them
        (ARM.format(first="i8mm bf16"), True),
        (ARM.format(first="i8mm"), False),
        ("", False),
        (None, False),
    ],
)
def test_a_processor_computes_bfloat16_if_its_flags_say_so(tmp_path, text, computes):
    path = tmp_path / "cpuinfo"
    if text is not None:
        path.write_text(text)
    assert bool(precision.BFLOAT16 & flags(path)) == computes


@pytest.mark.parametrize("flag", sorted(precision.BFLOAT16))
def test_only_wide_products_are_worth_it_on_a_processor(processor, flag):
    processor("avx2", flag)
    assert best_precision(CPU, wide=True) == "bfloat16"
    assert best_precision(CPU, wide=False) == "float32"
    processor("avx2", "avx512f")
    assert best_precision(CPU, wide=True) == "float32"


def test_what_was_asked_for_is_what_it_is(processor):
    processor()
    assert precision_of(FitSettings(precision="bfloat16"), CPU) == torch.bfloat16
    processor("amx_bf16")
    assert precision_of(FitSettings(precision="float32"), CPU, wide=True) == torch.float32
    assert precision_of(FitSettings(), CPU, wide=True) == torch.bfloat16


SHAPE = (1, 4, 4)
SHORT = {"updates": 2, "batch": 4, "evaluations": 1}


def made(kind, context=None, **options):
    return densities.build(kind, SHAPE, 4, context, options)


WINDOW = {"width": 8}
STREAMS = {"filters": 4, "residual_layers": 1, "scales": 1}


def kinds_seen(module):
    """What a module computes in: filled in as it runs in training."""
    seen = set()
    module.register_forward_hook(lambda own, _, out: seen.add(out.dtype) if own.training else None)
    return seen


@pytest.mark.parametrize(
    ("way", "expected"),
    [("window", torch.bfloat16), ("shared", torch.bfloat16), ("pixelcnn", torch.float32), ("mse", torch.float32)],
)
def test_a_fit_takes_what_suits_the_model_and_the_device(processor, way, expected):
    """Left to "auto", on a processor that computes bfloat16."""
    processor("avx512_bf16")
    images = torch.arange(16, dtype=torch.uint8).view(-1, 1, 1, 1).expand(16, *SHAPE) % 4
    h = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
    settings = FitSettings(**SHORT)
    if way == "mse":
        model = Reconstructor(SHAPE, (3,), filters=4)
        seen = kinds_seen(model.finish[0])
        fit(model, SquaredError(model, 4), Pairs(images, h), Pairs(images, h), settings, seed=0)
    elif way == "shared":
        parts = {"a": made("autoregressive", **WINDOW), "b": made("autoregressive", (3,), **WINDOW)}
        seen = kinds_seen(parts["b"].trunk.window)
        pairs = {"a": Pairs(images), "b": Pairs(images, h)}
        fit_shared(parts, pairs, pairs, settings, seed=0)
    else:
        model = made("autoregressive", **WINDOW) if way == "window" else made("pixelcnn", **STREAMS)
        seen = kinds_seen(model.trunk.window if way == "window" else model.up_down[0].first)
        fit_density(model, Pairs(images), Pairs(images), settings, seed=0)
    assert seen == {expected}


def test_a_model_is_wide_if_a_density_in_it_is():
    assert is_wide(torch.nn.ModuleList([made("pixelcnn", **STREAMS), made("autoregressive", **WINDOW)]))
    assert not is_wide(torch.nn.ModuleList([made("pixelcnn", **STREAMS), torch.nn.Linear(2, 2)]))


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_a_fit_in_half_precision_ends_where_one_in_full_precision_does(channels):
    """To a thousandth of the held-out loss beyond what chance makes of five fits (95 %): of grey images whose truth is
    known, and of digits in colour; many pixels a step, so that chance makes little.

    After some hundred updates any rounding leads elsewhere, on every processor: one seed tells its luck only.
    """
    if channels == 1:
        levels, images = 4, torch.from_numpy(data.load("truth", noise=0.5, n=6000, seed=3).images)
    else:
        levels, digits = 17, torch.from_numpy(data.load("digits").images)
        noise = torch.randint(-2, 3, (len(digits), channels, 8, 8), generator=torch.Generator().manual_seed(1))
        images = (digits.int() + noise).clamp(0, 16).to(torch.uint8)
    kept = 5 * len(images) // 6
    pairs, held = Pairs(images[:kept]), Pairs(images[kept:])
    relative = []
    for seed in range(5):
        losses = []
        for kind in ("float32", "bfloat16"):
            torch.manual_seed(seed)
            model = Autoregressive((channels, 8, 8), levels, width=64, hidden=32, mixtures=4, pixels=32)
            settings = FitSettings(updates=300, batch=64, learning_rate=2e-3, evaluations=2, precision=kind)
            losses.append(fit_density(model, pairs, held, settings, seed=seed).best_loss)
        assert losses[0] < 0.9 * channels * 64 * math.log(levels)
        relative.append(losses[1] / losses[0] - 1)
    chance = stats.t.ppf(0.975, len(relative) - 1) * np.std(relative, ddof=1) / math.sqrt(len(relative))
    assert 0 < chance < 1e-3
    assert abs(np.mean(relative)) < 1e-3 + chance
