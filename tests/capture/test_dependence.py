"""What activations depend on beside their image, and which layers are functions of which."""

import random
import threading

import numpy as np
import pytest
import torch
from torch import nn

import infoplane
import tiny_study
from infoplane.capture import DependenceWarning, Tap, activations, dependence, functions_of, list_layers, seeded


class Function(nn.Module):
    """A model that holds modules and runs a given function of them."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.function(self, x)


class Call(nn.Module):
    """A module that computes a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


X = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("layer", "companions", "is_random"),
    [
        (nn.BatchNorm2d(3, track_running_stats=False), True, False),
        (nn.BatchNorm2d(3), False, False),
        (nn.InstanceNorm2d(3), False, False),
        (nn.GroupNorm(1, 3), False, False),
        (nn.Conv2d(3, 2, 3), False, False),
        (Call(lambda x: x - x.mean(0, keepdim=True)), True, False),
        (Call(lambda x: x / x.abs().max()), True, False),
        (Call(lambda x: nn.functional.dropout(x, 0.5)), False, True),
        (Call(lambda x: x + torch.randn_like(x)), False, True),
        (Call(lambda x: x + float(np.random.normal())), False, True),
        (Call(lambda x: x + random.random()), False, True),
        (Call(lambda x: nn.functional.dropout(x, 0.5, training=False)), False, False),
        (nn.Dropout(0.5), False, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
@pytest.mark.parametrize("rows", [1, 2, 6])
def test_companions_and_randomness_are_found(layer, companions, is_random, rows):
    found = dependence(Function(lambda own, x: own.layer(x), layer=layer), X[:rows]).get("layer")
    assert (found is not None and found.companions, found is not None and found.random) == (companions, is_random)


def gated(shape):
    """A convolution's output, some of which comes or goes at random."""

    def forward(own, x):
        h = own.conv(x)
        return own.out(h + h.relu() * (torch.rand(shape(len(x))) > own.rare))

    return Function(forward, conv=nn.Conv2d(3, 4, 3), out=nn.Identity())


@pytest.mark.parametrize("rare", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("shape", [lambda n: (n, 1, 1, 1), lambda n: (1, 1, 1, 1)], ids=["rows", "batches"])
def test_noise_that_is_rare_is_found(shape, rare):
    """Stochastic depth. What every hundredth draw of 5 % misses is less than 1 in 100 batches, and no row."""
    model = gated(shape)
    model.rare = rare
    found = dependence(model, X)
    assert {name for name, each in found.items() if each.random} == {"out", "output"}
    assert found["out"].repeats
    assert functions_of(model, ["conv", "out"], X)["out"] == []


def largest_pass(h):
    """The batch's largest quarter of all units passes."""
    return h * (h >= h.flatten().topk(h.numel() // 4).values[-1])


def rows_pass(h):
    """The half of the rows that is the largest passes."""
    return h * (h.norm(dim=1, keepdim=True) >= h.norm(dim=1).median())


def quantised(h):
    """As quantisation with a range that is that of the batch."""
    step = h.abs().max() / 127
    return (h / step).round() * step


@pytest.mark.parametrize(
    "together",
    [
        largest_pass,
        lambda h: -largest_pass(-h),
        rows_pass,
        quantised,
        lambda h: h - h[:1],
        lambda h: h - h[-1:],
        lambda h: h * (h > h.median()),
    ],
)
def test_companions_are_found_whatever_the_weights(together):
    """Four units, 8 networks each: one may be missed, of which other images hardly ever change the choice."""
    missed = 0
    for seed in range(8):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(48, 4), Call(together))
        found = dependence(model, torch.rand(16, 3, 4, 4))
        missed += "2" not in found or not found["2"].companions
        assert not {"0", "1"} & found.keys()
    assert missed < 2


@pytest.mark.parametrize(
    "alone",
    [
        torch.relu,
        lambda h: (8 * h).round() / 8,
        lambda h: (h > 0).float(),
        lambda h: h * (h >= h.topk(2, 1).values[:, -1:]),
    ],
)
def test_thresholds_within_an_image_are_not_taken_for_companions(alone):
    for seed in range(8):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(48, 4), Call(alone))
        assert dependence(model, torch.rand(16, 3, 4, 4)) == {}, seed


def test_clean_networks_are_run_few_times():
    """Once, once again, a seed, and four other batches: what takes long in a large network is to run it."""
    runs = []
    model = nn.Sequential(nn.Flatten(), *(nn.Linear(300, 300) for _ in range(40)))
    model.register_forward_hook(lambda _module, args, _output: runs.append(len(args[0])))
    x = torch.rand(8, 3, 10, 10)
    assert dependence(model, x) == {}
    assert set(runs) == {2, 3, 8, 11}
    few = len(runs)
    runs.clear()
    wide = nn.Sequential(nn.Flatten(), nn.Unflatten(1, (300, 1)), Call(lambda h: h.expand(-1, -1, 4000)), nn.Flatten())
    wide.register_forward_hook(lambda _module, args, _output: runs.append(len(args[0])))
    assert dependence(wide, x) == {}
    assert set(runs) == {2, 3, 4, 7}
    assert len(runs) <= few <= 2 + 2 + 12 + 4


@pytest.mark.parametrize(
    "choose",
    [
        lambda h: torch.bernoulli(torch.sigmoid(h[:, :1])),
        lambda h: nn.functional.gumbel_softmax(h, hard=True),
        lambda h: nn.functional.dropout(h.relu(), 0.1),
        lambda h: h + 1e-5 * torch.randn_like(h),
        lambda h: h if torch.rand(()) > 0.5 else h.flip(1),
    ],
)
def test_noise_in_few_units_is_found_whatever_the_weights(choose):
    for seed in range(4):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(48, 4), Call(choose))
        assert dependence(model, X)["2"].random, seed


def test_noise_of_a_generator_that_nobody_knows_of_is_found():
    generator = np.random.default_rng(0)
    model = Function(lambda own, x: own.out(x * float(generator.random() > 0.3)), out=nn.Identity())
    assert dependence(model, X)["out"].random


@pytest.mark.parametrize(
    "layer",
    [
        lambda x: x * (1 + torch.arange(len(x))[:, None, None, None]),
        lambda x: x * (torch.arange(len(x)) % 2)[:, None, None, None],
        lambda x: torch.cat([2 * x[:1], x[1:]]),
        lambda x: x * len(x),
        lambda x: x * (len(x) % 2),
        lambda x: (torch.manual_seed(0), nn.functional.dropout(x, 0.5))[1],
    ],
    ids=["place", "parity", "first", "size", "odd size", "reseeded"],
)
@pytest.mark.parametrize("rows", [1, 2, 6])
def test_the_place_in_the_batch_and_its_size_are_found(layer, rows):
    found = dependence(Function(lambda own, x: own.layer(x), layer=Call(layer)), X[:rows])["layer"]
    assert (found.companions, found.random, found.place) == (False, False, True)
    assert "depends on its place in the batch, or on the batch's size" in found.notes[0]


def test_units_behind_one_that_is_far_larger_are_seen():
    """Of one unit a million times as large as the others, which depend on their batch."""
    model = Function(
        lambda own, x: own.out(torch.cat([1e6 * x[:, :1, 0, 0], own.norm(x[:, :, 1, 1])], 1)),
        norm=nn.BatchNorm1d(3, track_running_stats=False), out=nn.Identity(),
    )  # fmt: skip
    assert dependence(model, X)["out"].companions


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rounding_is_no_dependence(dtype):
    """Deep and wide, with units that are zero or nearly cancel: at other places, and in batches of other sizes."""
    for seed in range(2):
        torch.manual_seed(seed)
        body = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Flatten()]
        body += [nn.Linear(512, 300), nn.ReLU(), nn.LayerNorm(300), nn.Linear(300, 40), Call(lambda h: h.sign())]
        model = nn.Sequential(*body).to(dtype)
        assert dependence(model, X.to(dtype)) == {}
        assert dependence(model, X.to(dtype), rows=70) == {}


def test_noise_with_a_density_is_told_from_noise_without():
    model = Function(
        lambda own, x: own.some(own.drop(x)) + own.noise(x),
        drop=Call(lambda x: nn.functional.dropout(x, 0.5)),
        noise=Call(lambda x: x + torch.randn_like(x)),
        some=Call(lambda x: torch.cat([x[:, :1] + torch.randn_like(x[:, :1]), x[:, 1:]], 1)),
    )
    found = dependence(model, X)
    assert {name: each.repeats for name, each in found.items()} == {
        "drop": True, "some": True, "noise": False, "output": False,
    }  # fmt: skip
    assert "without a density on every unit, I(x;h) may still be H(x)" in found["drop"].notes[0]
    assert "unless its noise has a density" in found["noise"].notes[0]


def test_the_list_and_a_warning_say_so():
    model = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten())
    images = (255 * X).to(torch.uint8)
    assert [bool(info.notes) for info in list_layers(model, X)] == [True, True, True]
    with pytest.warns(DependenceWarning, match="layer '1' depends on the other images of its batch"):
        activations(model, ["1"], images, transform=lambda x: x.float())


def test_randomness_is_that_of_a_seed_and_the_callers_does_not_move():
    model = Function(
        lambda own, x: own.layer(x), layer=Call(lambda x: x + torch.rand(()) + np.random.random() + random.random())
    )
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()

    def run(seed):
        with seeded(seed):
            return Tap(model, ["layer"])(X)["layer"]

    one, again, other = run(0), run(0), run(1)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    dependence(model, X)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]


def drawn_from(generator):
    """What a module draws from a generator of its own: one number."""
    if isinstance(generator, torch.Generator):
        return float(torch.rand((), generator=generator))
    return float(generator.random() if hasattr(generator, "random") else generator.rand())


OWN = {
    "torch": lambda: torch.Generator().manual_seed(5),
    "numpy": lambda: np.random.default_rng(5),
    "mt19937": lambda: np.random.Generator(np.random.MT19937(5)),
    "legacy": lambda: np.random.RandomState(5),
    "python": lambda: random.Random(5),
}


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.parametrize("hidden", [False, True])
def test_generators_of_the_networks_own_follow_the_seed_and_are_left_as_they_were(kind, hidden):
    model = Function(lambda own, x: own.noisy(x), noisy=Call(None), shared=Call(None))
    own = OWN[kind]()
    # One generator of two modules, and one that lies in a list of a mapping.
    model.noisy.source, model.shared.source = ({"of": [own]} if hidden else own), own
    model.noisy.function = lambda x: x + drawn_from(own) + torch.rand(())

    def run(seed):
        with seeded(seed):
            tap = Tap(model, ["noisy"])
            return [tap(X)["noisy"] for _ in range(2)]

    one, again, other = run(0), run(0), run(1)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one[0], other[0])
    assert not torch.equal(one[0], one[1]), "drawn anew in every batch"
    assert dependence(model, X)["noisy"].random
    # As though nothing had run: the next number is the first one of its seed.
    assert drawn_from(own) == drawn_from(OWN[kind]())


def test_a_network_with_its_own_generator_is_measured_alike_whatever_it_drew_before():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.generator = nn.Linear(16, 3), torch.Generator().manual_seed(1)

        def forward(self, x):
            h = self.fc(x.flatten(1))
            return h + torch.randn(h.shape, generator=self.generator)

    images, labels = tiny_study.images_and_labels()
    options = {**tiny_study.QUICK, "layers": ["output"]}
    model, values = Own(), []
    for _ in range(2):
        found = infoplane.measure(model, images, labels, kinds=["nce"], **options)
        values.append(found["output"]["nce"].value)
        model(torch.rand(2, 16))  # its generator goes on
    assert values[0] == values[1]


def test_a_batch_of_one_is_never_run():
    """squeeze() would take its batch dimension; the row is what it is in a larger batch."""
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), Call(lambda x: x.squeeze()), nn.Linear(5, 2))
    images = (255 * X[:5]).to(torch.uint8)
    whole = activations(model, ["2", "3"], images, transform=lambda x: x.squeeze().float())
    parts = activations(model, ["2", "3"], images, transform=lambda x: x.squeeze().float(), batch_size=2)
    assert all(parts[name].shape == whole[name].shape for name in whole)
    assert all(torch.allclose(parts[name], whole[name], atol=1e-4) for name in whole)
    assert Tap(model, ["3"])(X[:1])["3"].shape == (1, 2)


# ---- functions ----


def test_a_chain_branches_and_a_skip():
    def forward(own, x):
        b = own.b(own.a(x))
        own.join(b, own.c(x))
        return own.skip(b, x)

    model = Function(
        forward, a=nn.Conv2d(3, 4, 3), b=nn.ReLU(), c=nn.Conv2d(3, 4, 3), join=Call(lambda b, c: b + c),
        skip=Call(lambda b, x: b.mean((1, 2, 3)) + x.mean((1, 2, 3))),
    )  # fmt: skip
    layers = ["a", "b", "c", "join", "skip"]
    # b sees the image through a only; c and a are parallel; the join needs both; the skip sees the image itself.
    assert functions_of(model, layers, X) == {"a": [], "b": ["a"], "c": [], "join": [], "skip": []}


def test_residual_blocks_know_what_they_skip():
    block = Function(lambda own, x: own.out(x + own.inner(x)), inner=nn.Conv2d(3, 3, 3, padding=1), out=nn.Identity())
    model = nn.Sequential(block, nn.Flatten())
    assert functions_of(model, ["0.inner", "0.out", "0", "1"], X) == {
        "0.inner": [], "0.out": [], "0": ["0.out"], "1": ["0.out", "0"],
    }  # fmt: skip


@pytest.mark.parametrize("share", [1e-6, 3e-5, 1e-3])
def test_a_faint_skip_is_a_skip(share):
    model = Function(lambda own, x: own.out(own.conv(x) + share * x), conv=nn.Conv2d(3, 3, 3, padding=1),
                     out=nn.Identity())  # fmt: skip
    assert functions_of(model, ["conv", "out"], X) == {"conv": [], "out": []}


def test_no_unit_hides_behind_larger_ones():
    """Of 31 units one is a hundred thousand times as large, and a function of what the others are not functions of."""
    model = Function(
        lambda own, x: own.out(torch.cat([3e5 * own.a(x.flatten(1)), own.b(x.flatten(1))], 1)),
        a=nn.Linear(48, 1), b=nn.Linear(48, 30), out=nn.Identity(),
    )  # fmt: skip
    assert functions_of(model, ["a", "b", "out"], X)["out"] == []


def test_a_skip_that_opens_for_far_images_only():
    model = Function(
        lambda own, x: own.out(own.conv(x) + (x.amax((1, 2, 3), keepdim=True) - 1).relu() * x),
        conv=nn.Conv2d(3, 3, 3, padding=1), out=nn.Identity(),
    )  # fmt: skip
    assert functions_of(model, ["conv", "out"], X)["out"] == []


def test_held_outputs_in_any_memory_give_what_they_gave():
    """Slices, transposes and expanded tensors lie otherwise once they are held; what follows must still be theirs."""
    model = Function(
        lambda own, x: own.out(own.wide(own.turned(own.cut(own.conv(x)))).flatten(1)),
        conv=nn.Conv2d(3, 64, 3, padding=1), cut=Call(lambda h: h[:, 1:, 1:]),
        turned=Call(lambda h: h.transpose(1, 3)), wide=Call(lambda h: h[:, None].expand(-1, 3, -1, -1, -1)),
        out=nn.Linear(3 * 4 * 3 * 63, 50),
    )  # fmt: skip
    layers = ["conv", "cut", "turned", "wide", "out"]
    assert functions_of(model, layers, X) == {name: layers[:place] for place, name in enumerate(layers)}


def test_tuples_and_modules_called_twice():
    model = Function(
        lambda own, x: own.last(own.pair(own.relu(own.conv(x)))[1], own.relu(-own.conv(x))),
        conv=nn.Conv2d(3, 2, 3), relu=nn.ReLU(), pair=Call(lambda x: (x.sum((1, 2, 3)), {"half": x[:, :1]})),
        last=Call(lambda d, other: d["half"].flatten(1)),
    )  # fmt: skip
    found = functions_of(model, ["conv#0", "relu#0", "pair[0]", "pair[1][half]", "relu#1", "last"], X)
    assert found["relu#0"] == ["conv#0"]
    assert found["relu#1"] == [], "the second call has a convolution of its own, which is not asked for"
    assert found["last"] == ["conv#0", "relu#0", "pair[1][half]"]


def test_nothing_is_claimed_of_what_is_random_batch_dependent_or_constant():
    model = Function(
        lambda own, x: own.constant(own.norm(own.noise(own.conv(x)))),
        conv=nn.Conv2d(3, 2, 3), noise=Call(lambda x: x + torch.randn_like(x)),
        norm=nn.BatchNorm2d(2, track_running_stats=False), constant=Call(lambda x: 0 * x + 1),
    )  # fmt: skip
    assert functions_of(model, ["conv", "noise", "norm", "constant"], X) == {
        "conv": [], "noise": [], "norm": [], "constant": [],
    }  # fmt: skip


def test_the_model_is_left_as_it_was():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.lock = nn.utils.weight_norm(nn.Linear(4, 2)), threading.Lock()

        def forward(self, x):
            self.last = self.fc(x)
            return self.last

    with pytest.warns(FutureWarning):
        model = Keeps()
    x = torch.rand(3, 4)
    model(x)
    last, weight = model.last, model.fc.weight
    list_layers(model, x)
    functions_of(model, ["fc", "output"], x)
    assert model.last is last
    assert model.fc.weight is weight
    assert not any(module._forward_hooks for module in model.modules())
