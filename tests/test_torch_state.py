"""What the caller has switched on in torch reaches the caller's own code, and nothing else."""

import contextlib
import dataclasses
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.module import register_module_forward_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import tiny_study
from infoplane import PixelCNN, densities
from infoplane.capture import Tap, activations
from infoplane.information import fit_probe
from infoplane.information.mixture_draws import mixture_entropy
from infoplane.inversion import FitSettings, Pairs, cross_log_probs, fit_density, log_probs
from infoplane.profile import measure
from infoplane.torch_state import OWN, State, callers_state, own_state
from tiny_study import QUICK, contents

IMAGES, LABELS = tiny_study.images_and_labels()

pytestmark = pytest.mark.usefixtures("short")


@contextlib.contextmanager
def switched(write, value, back):
    write(value)
    try:
        yield
    finally:
        write(back)


def set_precision(value):
    torch.set_float32_matmul_precision(value)
    if value == "highest":  # as it is where it was never set
        torch.backends.mkldnn.matmul.fp32_precision = torch.backends.cuda.matmul.fp32_precision = "none"


class Altering(TorchFunctionMode):
    """Convolutions are other ones."""

    def __torch_function__(self, function, kinds, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        return 2 * found if function is torch.conv2d else found


class Rounding(TorchDispatchMode):
    """Whatever is multiplied is rounded."""

    def __torch_dispatch__(self, function, kinds, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        return found.bfloat16().to(found.dtype) if function is torch.ops.aten.mul.Tensor else found


@contextlib.contextmanager
def seen_by_all_modules():
    handle = register_module_forward_hook(lambda module, given, found: 2 * found if isinstance(found, Tensor) else None)
    try:
        yield
    finally:
        handle.remove()


STATES = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "set_grad_enabled": lambda: torch.set_grad_enabled(False),
    "float64": lambda: switched(torch.set_default_dtype, torch.float64, torch.float32),
    "device": lambda: torch.device("meta"),
    "set_default_device": lambda: switched(torch.set_default_device, "meta", None),
    "anomaly": lambda: torch.autograd.detect_anomaly(check_nan=False),
    "deterministic": lambda: switched(torch.use_deterministic_algorithms, True, False),
    "precision": lambda: switched(set_precision, "medium", "highest"),
    "numpy": lambda: np.errstate(all="raise"),
    # What is saved to differentiate by is lost.
    "saved_tensors": lambda: saved_tensors_hooks(lambda x: x * 0, lambda x: x),
    "functions": Altering,
    "dispatch": Rounding,
    "modules": seen_by_all_modules,
    "mkldnn": lambda: torch.backends.mkldnn.flags(enabled=False, allow_tf32=None),
    "nnpack": lambda: torch.backends.nnpack.flags(enabled=False),
    "denormal": lambda: switched(torch.set_flush_denormal, True, False),
    "convolutions": lambda: switched(
        lambda value: setattr(torch.backends.mkldnn.conv, "fp32_precision", value), "bf16", "none"
    ),
}
#: all that can be on at once
TOGETHER = ("autocast", "inference_mode", "float64", "device", "deterministic", "precision", "numpy")
ignore_anomaly = pytest.mark.filterwarnings("ignore:Anomaly Detection")


class Seeing(nn.Module):
    """Values that no precision changes, and what state they were computed in."""

    def __init__(self):
        super().__init__()
        self.even = nn.ReLU()
        self.seen = []

    def forward(self, x):
        self.seen.append(State.now())
        return self.even(x[:, :, ::2])


@pytest.fixture(scope="module")
def plain(short) -> dict[str, bytes]:
    """The cells of a measurement in a fresh state."""
    found = measure(Seeing(), IMAGES, LABELS, layers=["even"], **QUICK)
    return contents(found.folder / "cells")


@ignore_anomaly
@pytest.mark.parametrize(
    "state", ["autocast", "no_grad", "inference_mode", "float64", "set_default_device", "anomaly", "saved_tensors"]
)
def test_a_measurement_gives_the_same_bytes_in_any_state(plain, state):
    model, transformed = Seeing(), []

    def transform(x):
        transformed.append(State.now())
        return x.to(torch.float32) / 2

    with STATES[state]():
        outside = State.now()
        found = measure(model, IMAGES, LABELS, layers=["even"], transform=transform, **QUICK)
        scores = found.log_prob("even", IMAGES[:3], given=IMAGES[:2])
        drawn = found.sample("even", IMAGES[:2], n=2)
        assert State.now() == outside, "the caller's state is left as it was"
    assert contents(found.folder / "cells") == plain
    assert set(transformed) == {outside}
    # Nothing is differentiated in the network under study, whatever the caller wants; all else is the caller's.
    assert set(model.seen) == {dataclasses.replace(outside, gradients=False)}
    assert torch.equal(scores, found.log_prob("even", IMAGES[:3], given=IMAGES[:2]))
    assert torch.equal(drawn, found.sample("even", IMAGES[:2], n=2))
    assert not scores.is_inference()
    assert not drawn.is_inference()


def test_a_worker_process_gives_the_same_bytes_in_all_states_together(plain):
    with ExitStack() as stack:
        for state in TOGETHER:
            stack.enter_context(STATES[state]())
        found = measure(Seeing(), IMAGES, LABELS, layers=["even"], **QUICK | {"workers": 1})
    assert contents(found.folder / "cells") == plain


class Convolving(nn.Module):
    """What autocast changes."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x):
        return self.conv(x)


@pytest.mark.parametrize("state", ["autocast", "inference_mode"])
def test_a_layer_captured_while_the_density_trains_is_the_callers_and_the_training_is_not(state, monkeypatch):
    """Both with and without the cache the activations are those of the caller's state, and the fits are the same."""
    model, kept = Convolving(), {}
    for cached in (True, False):
        if not cached:
            monkeypatch.setattr("infoplane.measurements.inputs.CACHE_BYTES", 0)
        with STATES[state]():
            kept[cached] = measure(model, IMAGES, LABELS, layers=["conv"], **QUICK)["conv"]["nce"]
    assert kept[False].value == pytest.approx(kept[True].value, rel=1e-3)


@ignore_anomaly
@pytest.mark.parametrize("state", [state for state in STATES if state not in ("nnpack", "denormal", "convolutions")])
def test_public_functions_compute_in_their_own_state(state):
    # A density is made where, and of what, the caller wants; what is computed with one is not.
    densities = [PixelCNN((1, 4, 4), 3, (2,), filters=4, residual_layers=1, scales=1) for _ in range(2)]
    densities[1].load_state_dict(densities[0].state_dict())
    generator = torch.Generator().manual_seed(0)
    images, h = torch.from_numpy(IMAGES[:40]), torch.randn(40, 2, generator=generator)
    points = torch.randn(30, 2, generator=generator)
    features = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)

    def compute(density):
        pairs = Pairs(images, h)
        fit_density(density, pairs, pairs, FitSettings(updates=4, batch=8, evaluations=2), seed=0)
        probe = fit_probe(features, LABELS[:64], features, LABELS[:64], classes=3)
        return [
            log_probs(density, pairs),
            cross_log_probs(density, pairs.subset(np.arange(4)), h[:3]),
            density.sample(h[:2], generator=torch.Generator().manual_seed(0)),
            mixture_entropy(points, 0.5, queries=50, generator=torch.Generator().manual_seed(0)).value,
            probe.probabilities(features).tolist(),
        ]

    expected = compute(densities[0])
    with STATES[state]():
        found = compute(densities[1])
    assert all(torch.equal(one, other) for one, other in zip(expected[:3], found[:3], strict=True))
    assert found[3:] == expected[3:]


class Inferring(nn.Module):
    """A network whose forward pass is decorated, as published wrappers are."""

    def __init__(self):
        super().__init__()
        self.inner = Convolving()
        self.register_buffer("calls", torch.zeros(()))

    @torch.inference_mode()
    def forward(self, x):
        self.calls += 1
        return self.inner(x)


@pytest.mark.parametrize("inside", [False, True])
def test_captured_tensors_can_be_trained_on(inside):
    x, model = torch.rand(4, 1, 4, 4), Inferring()
    with torch.inference_mode() if inside else contextlib.nullcontext():
        found = Tap(model, ["inner.conv", "output"])(x)
        whole = activations(model, ["inner"], torch.zeros(4, 1, 4, 4, dtype=torch.uint8), transform=lambda x: x.float())
    for h in (*found.values(), *whole.values()):
        assert not h.is_inference()
        nn.Linear(8, 2)(h.flatten(1)).sum().backward()
    assert float(model.calls) == 0, "a buffer that was written to in inference mode is what it was"


def test_contexts_made_in_inference_mode_can_be_trained_on():
    with torch.inference_mode():
        h = torch.rand(40, 2)
    density = PixelCNN((1, 4, 4), 3, (2,), filters=4, residual_layers=1, scales=1)
    pairs = Pairs(torch.from_numpy(IMAGES[:40]), h)
    assert fit_density(density, pairs, pairs, FitSettings(updates=2, batch=8, evaluations=1), seed=0).updates == [2]


def test_a_density_made_in_inference_mode_is_refused(refuses):
    with torch.inference_mode():
        density = PixelCNN((1, 4, 4), 3, None, filters=4, residual_layers=1, scales=1)
    pairs = Pairs(torch.from_numpy(IMAGES[:40]))
    with refuses("made in inference mode", "outside"):
        fit_density(density, pairs, pairs, FitSettings(updates=2, batch=8, evaluations=1), seed=0)


def test_the_two_states_nest():
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        outside = State.now()
        with own_state():
            assert State.now() == OWN
            with torch.no_grad(), own_state():
                assert not torch.is_grad_enabled(), "inside itself it changes nothing"
            with callers_state():
                assert State.now() == outside
                with own_state():
                    assert State.now() == OWN
                assert State.now() == outside
            assert State.now() == OWN
        assert State.now() == outside
    with callers_state():
        assert State.now() == OWN


@ignore_anomaly
@pytest.mark.parametrize("state", STATES)
def test_what_is_the_callers_is_out_of_force_and_in_force_again(state):
    fresh = State.now()
    with STATES[state]():
        outside = State.now()
        assert outside != fresh
        with own_state():
            assert State.now() == OWN
            with callers_state():
                assert State.now() == outside
            assert State.now() == OWN
        assert State.now() == outside


def test_hooks_on_saved_tensors_are_all_back_in_their_order():
    first, second = [(lambda x: x.detach(), lambda x: x) for _ in range(2)]
    top = torch._C._autograd._top_saved_tensors_default_hooks
    with saved_tensors_hooks(*first):
        with saved_tensors_hooks(*second):
            with own_state():
                assert top(True) is None
                with callers_state():
                    assert top(True) == second
            assert top(True) == second
        assert top(True) == first


def test_an_error_on_the_way_puts_everything_back():
    with torch.inference_mode():
        outside = State.now()
        with pytest.raises(ZeroDivisionError), own_state(), callers_state(), own_state():
            raise ZeroDivisionError
        assert State.now() == outside


@pytest.mark.parametrize("state", ["float64", "meta"])
def test_a_density_is_built_the_same_under_every_default(state):
    options = {"filters": 4, "residual_layers": 1}
    plain = densities.build("pixelcnn", (1, 4, 4), 3, (2,), options).state_dict()
    try:
        if state == "float64":
            torch.set_default_dtype(torch.float64)
        else:
            torch.set_default_device("meta")
        built = densities.build("pixelcnn", (1, 4, 4), 3, (2,), options).state_dict()
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert plain.keys() == built.keys()
    assert all(built[name].dtype == each.dtype and torch.equal(built[name], each) for name, each in plain.items())
