"""The residual network of Darlow & Storkey (2018): shapes, sizes counted by hand, and what each part computes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from infoplane.capture import activations, default_transform, list_layers
from infoplane.subjects import ResNet21, ResNetAutoencoder

SMALL = {"filters": (3, 4, 5), "blocks": 1, "pool": 2}


def parameters(model) -> int:
    return sum(p.numel() for p in model.parameters())


def convolutions(model) -> int:
    return sum(isinstance(module, nn.Conv2d) for module in model.modules())


def settle(model):
    """Gives every batch norm statistics, weights and biases of its own, as training would."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.weight.data, module.bias.data):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / 2)
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
    return model.eval()


# --- the published size --------------------------------------------------------------------------------------------


def test_published_shapes_in_depth_order():
    expected = {"h1": (16, 32, 32), "h2": (32, 16, 16), "h3": (64, 8, 8), "h4": (64, 2, 2), "logits": (10,)}
    found = {info.name: info.shape for info in list_layers(ResNet21((3, 32, 32), 10), torch.rand(2, 3, 32, 32))}
    assert [(name, shape) for name, shape in found.items() if name in expected] == list(expected.items())
    assert 16 * 32 * 32 == 16_384
    found = {info.name: info.shape for info in list_layers(ResNetAutoencoder((3, 32, 32)), torch.rand(2, 3, 32, 32))}
    expected.pop("logits")
    expected["decoder"] = (3, 32, 32)
    assert [(name, shape) for name, shape in found.items() if name in expected] == list(expected.items())


def test_sizes_counted_by_hand():
    model = ResNet21((3, 32, 32), 10)
    assert convolutions(model) == 1 + 3 * 3 * 2 + 2 == 21
    # A convolution has 9·in·out weights and no bias; its batch norm two numbers per channel; skips are 1×1.
    stem = 9 * 3 * 16 + 2 * 16
    first = 6 * (9 * 16 * 16 + 2 * 16)
    second = 9 * 16 * 32 + 5 * 9 * 32 * 32 + 6 * 2 * 32 + (16 * 32 + 2 * 32)
    third = 9 * 32 * 64 + 5 * 9 * 64 * 64 + 6 * 2 * 64 + (32 * 64 + 2 * 64)
    encoder = stem + first + second + third
    assert parameters(model) == encoder + (2 * 2 * 64 * 10 + 10) == 274_394
    for name, size in {"stem": stem, "h1": first, "h2": second, "h3": third, "h4": 0, "logits": 2570}.items():
        assert parameters(getattr(model, name)) == size, name

    autoencoder = ResNetAutoencoder((3, 32, 32))
    assert convolutions(autoencoder) == 2 * 21
    third = 5 * 9 * 64 * 64 + 9 * 64 * 32 + 5 * 2 * 64 + 2 * 32 + (64 * 32 + 2 * 32)
    second = 5 * 9 * 32 * 32 + 9 * 32 * 16 + 5 * 2 * 32 + 2 * 16 + (32 * 16 + 2 * 16)
    decoder = third + second + first + (9 * 16 * 3 + 2 * 3)
    assert parameters(autoencoder) == encoder + decoder == 543_430


@pytest.mark.parametrize(
    ("shape", "options", "maps"),
    [
        ((1, 8, 8), SMALL, ((3, 8, 8), (4, 4, 4), (5, 2, 2), (5, 1, 1))),
        ((3, 16, 16), {"filters": (4, 6, 8), "blocks": 2}, ((4, 16, 16), (6, 8, 8), (8, 4, 4), (8, 1, 1))),
        ((3, 16, 32), {"pool": 2, "blocks": 1}, ((16, 16, 32), (32, 8, 16), (64, 4, 8), (64, 2, 4))),
        ((1, 28, 28), {"pool": 7, "blocks": 1}, ((16, 28, 28), (32, 14, 14), (64, 7, 7), (64, 1, 1))),
    ],
)
def test_any_size(shape, options, maps):
    images = torch.randint(0, 256, (3, *shape), dtype=torch.uint8)
    layers = ("h1", "h2", "h3", "h4")
    for model in (ResNet21(shape, 7, **options), ResNetAutoencoder(shape, 7, **options)):
        found = activations(model, layers, images, transform=default_transform(256))
        assert tuple(tuple(found[layer].shape[1:]) for layer in layers) == maps
    assert ResNet21(shape, 7, **options)(torch.rand(2, *shape)).shape == (2, 7)
    assert ResNetAutoencoder(shape, **options)(torch.rand(2, *shape)).shape == (2, *shape)
    assert convolutions(ResNet21(shape, 7, **options)) == 1 + 3 * 2 * options["blocks"] + 2


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 28, 32), (3, 32, 28), (3, 2, 2), (3, 33, 33)])
@pytest.mark.parametrize("kind", [ResNet21, ResNetAutoencoder])
def test_sizes_that_do_not_fit_are_refused(kind, shape, refuses):
    with refuses("do not fit", f"{shape[1]}×{shape[2]}", "16", "subject.pool"):
        kind(shape, 10)


# --- what it computes ----------------------------------------------------------------------------------------------


def normed(state, name, at, x, *, stride=1):
    """Convolution `at` of the part `name` with the batch norm behind it, from the weights alone."""
    weight = state[f"{name}.{at}.weight"]
    x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
    norm = {key: state[f"{name}.{at + 1}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")}
    scale = (norm["running_var"] + 1e-5).rsqrt() * norm["weight"]
    return (x - norm["running_mean"][:, None, None]) * scale[:, None, None] + norm["bias"][:, None, None]


def leaky(x):
    return torch.where(x > 0, x, 0.01 * x)


def test_the_classifier_computes_what_it_says():
    model = settle(ResNet21((2, 8, 8), 3, **SMALL)).double()
    x, state = torch.rand(4, 2, 8, 8, dtype=torch.float64), model.state_dict()
    h = leaky(normed(state, "stem", 0, x))
    for part, stride in (("h1.0", 1), ("h2.0", 2), ("h3.0", 2)):
        inside = leaky(normed(state, f"{part}.first", 0, h, stride=stride))
        skip = h if stride == 1 else normed(state, f"{part}.skip", 0, h, stride=2)
        h = leaky(normed(state, f"{part}.second", 0, inside) + skip)
    pooled = h.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    logits = pooled.flatten(1) @ state["logits.weight"].T + state["logits.bias"]
    torch.testing.assert_close(model(x), logits)


def test_the_autoencoder_computes_what_it_says():
    model = settle(ResNetAutoencoder((2, 8, 8), **SMALL)).double()
    x, state = torch.rand(4, 2, 8, 8, dtype=torch.float64), model.state_dict()
    h = x
    for part in ("stem", "h1", "h2", "h3", "h4"):
        h = getattr(model, part)(h)

    def larger(maps):
        return maps.repeat_interleave(2, 2).repeat_interleave(2, 3)

    h = larger(h)
    for part, up in (("decoder.1.0", True), ("decoder.2.0", True), ("decoder.3.0", False)):
        inside = leaky(normed(state, f"{part}.first", 0, h))
        if up:  # the first entry of what follows is the doubling, so convolutions are the second
            inside, skip = larger(inside), normed(state, f"{part}.skip", 1, larger(h))
        else:
            skip = h
        h = leaky(normed(state, f"{part}.second", 1 if up else 0, inside) + skip)
    torch.testing.assert_close(model(x), normed(state, "decoder.4", 0, h))


@pytest.mark.parametrize("kind", [ResNet21, ResNetAutoencoder])
def test_the_network_is_the_chain_of_its_parts_and_no_skip_leads_over_a_layer(kind):
    model = settle(kind((2, 8, 8), 3, **SMALL))
    h = x = torch.rand(4, 2, 8, 8)
    seen = {}
    for name in model.stages():
        model.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: seen.__setitem__(name, out))
    whole = model(x)
    chained = dict(seen)
    for name, part in model.stages().items():
        h = part(h)
        assert torch.equal(h, chained[name]), name
    assert torch.equal(h, whole)


def test_both_have_the_same_encoder_from_the_same_random_state():
    torch.manual_seed(3)
    classifier = ResNet21((1, 8, 8), 10, **SMALL)
    torch.manual_seed(3)
    autoencoder = ResNetAutoencoder((1, 8, 8), 10, **SMALL)
    states = classifier.state_dict(), autoencoder.state_dict()
    shared = [name for name in states[0] if name in states[1]]
    assert {name.split(".")[0] for name in shared} == {"stem", "h1", "h2", "h3"}
    assert all(torch.equal(states[0][name], states[1][name]) for name in shared)


@pytest.mark.parametrize("kind", [ResNet21, ResNetAutoencoder])
def test_a_new_classifier_has_the_architecture_and_other_weights(kind):
    torch.manual_seed(0)
    model = kind((1, 8, 8), 10, slope=0.2, **SMALL)
    torch.manual_seed(1)
    fresh = model.classifier(6)
    torch.manual_seed(1)
    assert all(map(torch.equal, fresh.parameters(), ResNet21((1, 8, 8), 6, slope=0.2, **SMALL).parameters()))
    assert fresh.logits.out_features == 6
    assert fresh.h1[0].slope == 0.2
    weights = [name for name, p in fresh.named_parameters() if p.ndim > 1 and "logits" not in name]
    own = dict(model.named_parameters())
    assert len(weights) == 9
    assert not any(torch.equal(own[name], fresh.get_parameter(name)) for name in weights)
