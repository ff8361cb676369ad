"""`infoplane.capture` on toy models, one behind each rule."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from infoplane.capture import Tap, activations, capture, default_transform, list_layers
from infoplane.errors import UsageError


class Toy(nn.Module):
    """Convolutions, an in-place ReLU that is called twice, BatchNorm, dropout and a layer that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.5)
        self.unused = nn.Linear(4, 4)
        self.fc = nn.Linear(4 * 25, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.conv1(x)))
        x = self.dropout(self.relu(self.conv2(x)))
        return self.fc(x.flatten(1))


class Function(nn.Module):
    """A model that holds modules and runs a given function of them."""

    def __init__(self, function, **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *args, **kwargs):
        return self.function(self, *args, **kwargs)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def model() -> Toy:
    return Toy()


@pytest.fixture
def x() -> Tensor:
    return torch.rand(6, 3, 5, 5)


def names(model: nn.Module, example) -> list[str]:
    return [info.name for info in list_layers(model, example)]


def problems(model: nn.Module, example) -> dict[str, str | None]:
    return {info.name: info.problem for info in list_layers(model, example)}


def run(model: nn.Module, inputs, *layers: str) -> list[Tensor]:
    return list(Tap(model, layers)(inputs).values())


# ---- what is listed, and under which name ----


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_lists_what_fires_in_order_with_shapes(model, batch):
    layers = list_layers(model, torch.rand(batch, 3, 5, 5))
    assert [(layer.name, layer.shape, layer.module) for layer in layers] == [
        ("conv1", (4, 5, 5), "Conv2d"),
        ("norm", (4, 5, 5), "BatchNorm2d"),
        ("relu#0", (4, 5, 5), "ReLU"),
        ("conv2", (4, 5, 5), "Conv2d"),
        ("relu#1", (4, 5, 5), "ReLU"),
        ("dropout", (4, 5, 5), "Dropout"),
        ("fc", (7,), "Linear"),
        ("output", (7,), "Toy"),
    ]
    assert all(layer.problem is None and layer.dtype == torch.float32 for layer in layers)


def test_activations_equal_a_run_by_hand(model, x):
    found = Tap(model, ["relu#1", "conv1", "conv2", "relu#0", "output"])(x)
    model.eval()
    with torch.no_grad():
        conv1 = model.conv1(x)
        relu0 = model.norm(conv1).relu()
        conv2 = model.conv2(relu0)
        relu1 = conv2.relu()
        output = model.fc(relu1.flatten(1))
    expected = {"relu#1": relu1, "conv1": conv1, "conv2": conv2, "relu#0": relu0, "output": output}
    assert list(found) == list(expected)
    for name, h in expected.items():
        assert torch.equal(found[name], h), name
        assert not found[name].requires_grad


def test_in_place_layers_corrupt_taps_that_are_not_copied(x):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)).eval()
    kept = []
    handle = model[0].register_forward_hook(lambda _module, _args, h: kept.append(h.detach()))
    model(x)
    handle.remove()
    (h,) = run(model, x, "0")
    assert (kept[0] >= 0).all(), "the toy must show the trap"
    assert (h < 0).any()
    assert torch.equal(h, model[0](x))


def test_an_in_place_first_layer_leaves_the_callers_batch_alone():
    x = torch.randn(4, 3)
    before = x.clone()
    run(nn.Sequential(nn.ReLU(inplace=True)), x, "0")
    assert torch.equal(x, before)


def test_a_module_under_two_names_is_listed_under_its_first(x):
    relu = nn.ReLU()
    model = Function(lambda m, x: m.second(m.conv(m.first(x))), first=relu, conv=nn.Conv2d(3, 4, 3), second=relu)
    assert names(model, x) == ["first#0", "conv", "first#1", "output"]
    first, second = run(model, x, "first#0", "first#1")
    assert torch.equal(first, x)
    assert torch.equal(second, model.conv(x).relu())


@dataclasses.dataclass
class Pair:
    mean: Tensor
    scale: Tensor | None
    count: int = 3


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (lambda h: (h, h + 1), ["[0]", "[1]"]),
        (lambda h: [h, (h + 1, None)], ["[0]", "[1][0]"]),
        (lambda h: {"a": h, "b": {"c": h + 1}}, ["[a]", "[b][c]"]),
        (lambda h: Pair(h, h + 1), ["[mean]", "[scale]"]),
        (lambda h: Pair(h, None), ["[mean]"]),
    ],
)
def test_selectors_for_nested_outputs(output, expected):
    model = Function(lambda m, x: m.inner(x), inner=Function(lambda m, x: output(x)))
    x = torch.rand(4, 3)
    assert names(model, x) == [f"inner{s}" for s in expected] + [f"output{s}" for s in expected]
    for offset, h in enumerate(run(model, x, *(f"inner{s}" for s in expected))):
        assert torch.equal(h, x + offset)


@pytest.mark.parametrize("batch_first", [True, False])
def test_lstm(batch_first):
    lstm = nn.LSTM(3, 5, num_layers=2, batch_first=batch_first)
    model = Function(lambda m, x: m.lstm(x if batch_first else x.transpose(0, 1))[0].mean(), lstm=lstm)
    x = torch.rand(4, 6, 3)
    found = {info.name: (info.shape, info.batch_dim, info.problem) for info in list_layers(model, x)}
    assert found["lstm[0]"] == ((6, 5), 0 if batch_first else 1, None)
    assert found["lstm[1][0]"] == ((2, 5), 1, None)
    assert found["output"] == ((), 0, "it has no batch dimension")
    out, hidden, cell = run(model, x, "lstm[0]", "lstm[1][0]", "lstm[1][1]")
    for row in range(4):  # unbatched, one example at a time
        with torch.no_grad():
            one, (one_hidden, one_cell) = lstm(x[row])
        torch.testing.assert_close(out[row], one)
        torch.testing.assert_close(hidden[row], one_hidden)
        torch.testing.assert_close(cell[row], one_cell)


def test_inputs_may_be_a_dict_or_a_tuple():
    model = Function(lambda m, a, b, scale=1.0: m.fc(a + scale * b), fc=nn.Linear(3, 2))
    a, b = torch.rand(4, 3), torch.rand(4, 3)
    expected = model.fc(a + 2 * b)
    for inputs in (
        (a, b, 2.0),
        [a, b, 2.0],
        {"a": a, "b": b, "scale": 2.0},
        {"a": a, "b": b, "scale": torch.tensor(2)},
    ):
        assert torch.equal(run(model, inputs, "fc")[0], expected)


def test_a_child_called_output_keeps_its_name():
    model = Function(lambda m, x: 2 * m.output(x), output=nn.Linear(3, 2))
    x = torch.rand(4, 3)
    child, whole = run(model, x, "output", "<output>")
    assert torch.equal(whole, 2 * child)


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (lambda h: h.reshape(-1, 2), "its rows are parts of examples, such as windows: 3 per example"),
        (lambda h: h.mean(0), "it has no batch dimension"),
        (lambda h: h.sum(), "it has no batch dimension"),
        (lambda h: h.argmax(1), "its values are torch.int64, not floating point"),
        (lambda h: h @ h.T, "its shape for one example depends on the batch size"),
        (lambda h: h[0] if len(h) == 2 else h, "it has no batch dimension"),
        (lambda h: h.to_sparse(), "it is sparse or nested"),
        (lambda h: h[:, :0], "it holds no values"),
        (lambda h: h.T, None),
    ],
)
def test_problems_are_told(function, problem):
    model = Function(lambda m, x: m.inner(m.fc(x)), fc=nn.Linear(3, 6), inner=Function(lambda m, h: function(h)))
    x = torch.rand(4, 3)
    assert problems(model, x) == {"fc": None, "inner": problem, "output": problem}
    if problem:
        with pytest.raises(UsageError, match=problem):
            run(model, x, "inner")
    else:
        assert torch.equal(run(model, x, "inner")[0], model.fc(x))


def test_a_tap_that_only_some_batches_have():
    model = Function(lambda m, x: m.fc(x) if len(x) != 3 else x[:, :2], fc=nn.Linear(3, 2))
    assert problems(model, torch.rand(4, 3)) == {"fc": "it has no batch dimension", "output": None}
    model = Function(lambda m, x: m.fc(x) if len(x) < 4 else x[:, :2], fc=nn.Linear(3, 2))
    with pytest.raises(UsageError, match="fired in the dry run, but not on this batch; received fc"):
        run(model, torch.rand(4, 3), "fc")


# ---- wrong names ----


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("relu", "layer name is ambiguous.*received 'relu'; legal: relu#0, relu#1$"),
        ("conv3", "unknown layer; received 'conv3'; legal: conv1, .*did you mean 'conv[12]' or 'conv[12]'"),
        ("relu#2", "unknown layer; received 'relu#2'.*did you mean 'relu#[01]'"),
        ("unused", "does not fire in the forward pass; received 'unused'; list_layers"),
    ],
)
def test_wrong_names(model, x, name, message):
    with pytest.raises(UsageError, match=message) as caught:
        run(model, x, "fc", name)
    assert "\n" not in str(caught.value)


def test_a_tuple_output_needs_a_selector():
    model = Function(lambda m, x: m.lstm(x)[0], lstm=nn.LSTM(3, 5, batch_first=True))
    with pytest.raises(UsageError, match=r"ambiguous.*legal: lstm\[0\], lstm\[1\]\[0\], lstm\[1\]\[1\]$"):
        run(model, torch.rand(2, 4, 3), "lstm")
    with pytest.raises(UsageError, match=r"ambiguous.*legal: lstm\[1\]\[0\], lstm\[1\]\[1\]$"):
        run(model, torch.rand(2, 4, 3), "lstm[1]")


@pytest.mark.parametrize("layers", ["fc", [], ()])
def test_layers_must_be_a_list_of_names(model, layers):
    with pytest.raises(UsageError, match=r"layers (must be a list|cannot be used)"):
        Tap(model, layers)


# ---- the model is left as it was found ----


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_hooks_are_removed(model, x):
    list_layers(model, x)
    assert hooks(model) == 0
    tap = Tap(model, ["conv1", "fc"])
    tap(x)
    assert hooks(model) == 0
    with pytest.raises(RuntimeError):
        tap(torch.rand(2, 5, 5, 5))
    assert hooks(model) == 0
    with pytest.raises(UsageError):
        list_layers(model, torch.rand(2, 5, 5, 5))
    assert hooks(model) == 0


def test_the_callers_own_hooks_stay_and_are_seen(model, x):
    handle = model.conv1.register_forward_hook(lambda _module, _args, h: 2 * h)
    (h,) = run(model, x, "conv1")
    assert len(model.conv1._forward_hooks) == 1
    handle.remove()
    assert torch.equal(h, 2 * model.conv1(x))


@pytest.mark.parametrize("fails", [False, True])
def test_flags_buffers_and_parameters_are_as_before(model, x, fails):
    model.norm.eval()
    model.conv2.eval()
    flags = [module.training for module in model.modules()]
    assert len(set(flags)) == 2
    state = {name: value.clone() for name, value in model.state_dict().items()}
    if fails:
        with pytest.raises(UsageError):
            list_layers(model, x[:, :, :2])
    else:
        list_layers(model, x)
        list(capture(model, ["fc"], [x, x]))
    assert [module.training for module in model.modules()] == flags
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_buffers_that_change_even_in_evaluation_are_put_back():
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("in_place", torch.zeros(2))
            self.register_buffer("replaced", torch.zeros(2))

        def forward(self, x: Tensor) -> Tensor:
            self.in_place += 1
            self.replaced = self.replaced + 1
            return x + self.in_place + self.replaced

    model = Counting()
    buffers = dict(model.named_buffers())
    (h,) = run(model, torch.zeros(3, 2), "output")
    assert (h == 2).all()
    assert all(buffers[name] is buffer and (buffer == 0).all() for name, buffer in model.named_buffers())


def test_gradients_stay_on_for_the_caller(model, x):
    captured = capture(model, ["fc"], [x, x])
    next(captured)
    assert torch.is_grad_enabled()
    model(x).sum().backward()
    next(captured)


def test_the_model_runs_in_evaluation_without_gradients():
    seen = []
    model = Function(lambda m, x: seen.append((m.training, torch.is_grad_enabled())) or x)
    run(model, torch.rand(4, 3), "output")
    assert seen == [(False, False)] * 3  # twice for the dry run


def test_a_flag_that_train_does_not_set_is_restored():
    class Frozen(nn.BatchNorm1d):
        def train(self, mode: bool = True) -> "Frozen":
            return super().train(False)  # the usual way to keep statistics fixed

    model = Frozen(3)
    model.training = True
    run(model, torch.rand(4, 3), "output")
    assert model.training


def test_activations_are_detached_even_if_the_model_turns_gradients_on():
    model = Function(lambda m, x: torch.enable_grad()(m.fc)(x), fc=nn.Linear(3, 2))
    (h,) = run(model, torch.rand(4, 3), "fc")
    assert not h.requires_grad


def test_random_state_does_not_move_and_noise_is_fresh():
    model = Function(lambda m, x: m.noise(x), noise=Function(lambda m, x: x + torch.randn_like(x)))
    x = torch.zeros(4, 3)
    before = torch.get_rng_state()
    list_layers(model, x)
    first, second = (batch["noise"] for batch in capture(model, ["noise"], [x, x]))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, model(x))  # the stream starts where the caller's is,
    assert torch.equal(second, model(x))  # and goes on


def test_random_state_does_not_move_when_the_model_raises():
    def noisy(_model: nn.Module, x: Tensor) -> Tensor:
        raise ValueError(f"no {torch.rand(())}")

    before = torch.get_rng_state()
    with pytest.raises(UsageError):
        list_layers(Function(noisy), torch.rand(2, 3, generator=torch.Generator()))
    assert torch.equal(torch.get_rng_state(), before)


# ---- models that are wrapped, lazy or wrong ----


def test_compiled_wrappers_are_looked_through(model, x):
    plain = names(model, x)
    expected = run(model, x, "conv1", "relu#1", "fc")
    wrapper = Function(lambda m, x: pytest.fail("the wrapper was run"), _orig_mod=model)
    nested = nn.Sequential(torch.compile(model, backend=lambda *_: pytest.fail("the model was compiled")))
    assert names(wrapper, x) == plain
    assert names(nested, x) == [f"0.{name}" for name in plain[:-1]] + ["0", "output"]
    for h, via, prefix in [(expected, wrapper, ""), (expected, nested, "0.")]:
        found = run(via, x, *(prefix + name for name in ("conv1", "relu#1", "fc")))
        assert all(torch.equal(a, b) for a, b in zip(found, h))


def test_a_model_compiled_in_place_runs_eagerly(model, x):
    expected = run(model, x, "conv1")
    model.conv1.compile(backend=lambda *_: pytest.fail("the model was compiled"))
    assert torch.equal(run(model, x, "conv1")[0], expected[0])


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_script_modules_are_refused(x):
    scripted = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    with pytest.raises(UsageError, match=r"hooks need a Python nn\.Module; received a RecursiveScriptModule"):
        list_layers(scripted, x)
    assert names(nn.Sequential(scripted), x) == ["output"]


def test_what_cannot_run_is_told_in_one_line(model, x):
    with pytest.raises(
        UsageError, match="does not run on these inputs; received RuntimeError: Given groups=1"
    ) as error:
        list_layers(model, torch.rand(2, 5, 5, 5))
    assert "\n" not in str(error.value)
    assert isinstance(error.value.__cause__, RuntimeError)
    with pytest.raises(UsageError, match="an empty batch"):
        list_layers(model, x[:0])
    with pytest.raises(UsageError, match=r"received ndarray.*torch\.from_numpy"):
        list_layers(model, x.numpy())
    with pytest.raises(UsageError, match="lazy parameters"):
        list_layers(nn.LazyLinear(3), x)
    with pytest.raises(UsageError, match=r"model cannot be used; received type"):
        list_layers(nn.ReLU, x)


# ---- capture and activations ----


@pytest.mark.parametrize(
    ("inside", "captured"),
    [(torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float64, torch.float64)],
)
def test_dtypes(inside, captured):
    model = nn.Sequential(nn.Linear(3, 2)).to(inside)
    x = torch.rand(4, 3, dtype=inside)
    assert list_layers(model, x)[0].dtype == inside
    (h,) = run(model, x, "0")
    assert h.dtype == captured
    assert torch.equal(h, model(x).to(captured))


def test_capture_streams_and_transforms(model):
    asked = []

    def batches():
        for size in (2, 4, 1):
            asked.append(size)
            yield torch.full((size, 3, 5, 5), 255, dtype=torch.uint8)

    stream = capture(model, ["fc"], batches(), transform=default_transform(256))
    assert asked == []
    first = next(stream)
    assert asked == [2]
    assert first["fc"].shape == (2, 7)
    assert [len(batch["fc"]) for batch in stream] == [4, 1]
    assert torch.equal(first["fc"], run(model, torch.ones(2, 3, 5, 5), "fc")[0])


def test_no_batches_give_nothing(model):
    assert list(capture(model, ["fc"], [])) == []


@pytest.mark.parametrize("read_only", [False, True])
def test_activations_of_arrays_and_tensors(model, read_only):
    images = np.random.default_rng(0).integers(0, 256, (11, 3, 5, 5), dtype=np.uint8)
    images.flags.writeable = not read_only
    options = {"transform": default_transform(256), "batch_size": 4}
    found = activations(model, ["conv1", "fc"], images, **options)
    tensors = activations(model, ["conv1", "fc"], torch.tensor(images), **options)
    model.eval()
    x = torch.tensor(images) / 255
    for name, expected in {"conv1": model.conv1(x), "fc": model(x)}.items():
        assert isinstance(found[name], np.ndarray)
        assert found[name].dtype == np.float32
        torch.testing.assert_close(torch.tensor(found[name]), expected.detach())
        assert torch.equal(tensors[name], torch.tensor(found[name]))
    backwards = activations(model, ["fc"], images[::-1], **options)
    np.testing.assert_allclose(backwards["fc"][::-1], found["fc"], rtol=1e-5, atol=1e-6)


def test_activations_must_be_finite(model):
    images = torch.zeros(11, 3, 5, 5, dtype=torch.uint8)
    images[9] = 255
    model = nn.Sequential(nn.Flatten(), Function(lambda m, x: 1 / (1 - x)), nn.Flatten())
    with pytest.raises(UsageError, match=r"must be finite; received NaN or infinity at layer '1', example 9;"):
        activations(model, ["0", "1"], images, transform=default_transform(256), batch_size=4)


@pytest.mark.parametrize("images", [np.zeros((2, 3, 5, 5)), np.zeros((2, 5, 5), "u1"), torch.zeros(0, 3, 5, 5).byte()])
def test_images_must_be_uint8_and_four_dimensional(model, images):
    with pytest.raises(UsageError, match=r"legal: uint8 \(N, C, H, W\) with N >= 1"):
        activations(model, ["fc"], images, transform=default_transform(256))


def test_activations_refuse_what_would_misalign_rows(model):
    images = torch.zeros(4, 3, 5, 5, dtype=torch.uint8)
    with pytest.raises(UsageError, match="one row per image; received 8 rows for a batch of 4 images; legal: 4 rows"):
        activations(model, ["fc"], images, transform=lambda x: x.float().repeat(2, 1, 1, 1))
    with pytest.raises(UsageError, match="batch_size"):
        activations(model, ["fc"], images, transform=default_transform(256), batch_size=0)


def test_default_transform():
    x = torch.arange(4, dtype=torch.uint8).reshape(1, 1, 2, 2)
    y = default_transform(4)(x)
    assert y.dtype == torch.float32
    assert torch.equal(y.flatten(), torch.tensor([0, 1 / 3, 2 / 3, 1]))
    with pytest.raises(UsageError, match="legal: a whole number from 2 to 256"):
        default_transform(1)


def test_a_model_that_fixes_the_size_of_its_batch_is_told_so():
    model = Function(lambda m, x: m.fc(x.view(16, 3)), fc=nn.Linear(3, 2))
    with pytest.raises(UsageError, match=r"invalid for input of size.*fixes.*x\.shape\[0\] or -1"):
        list_layers(model, torch.rand(16, 3))
