"""Weight normalisation per output channel, and the initialisation that data decide."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from infoplane.densities.layers import WeightNormConv, WeightNormUpConv, down_conv, down_right_conv
from tiny_densities import LIKELIHOODS, build, layers_of, random_images


def test_convolution_is_torchs_weight_norm_per_output_channel():
    torch.manual_seed(0)
    ours = WeightNormConv(3, 5, (2, 3), stride=2).double()
    theirs = parametrizations.weight_norm(nn.Conv2d(3, 5, (2, 3), stride=2).double(), dim=0)
    with torch.no_grad():
        ours.gain.normal_()
        ours.bias.normal_()
        theirs.parametrizations.weight.original0.copy_(ours.gain.view(5, 1, 1, 1))
        theirs.parametrizations.weight.original1.copy_(ours.weight)
        theirs.bias.copy_(ours.bias)
    x = torch.randn(2, 3, 7, 8, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-13)


@pytest.mark.parametrize("kernel", [(2, 3), (2, 2)])
def test_transposed_convolution_is_torchs_weight_norm_per_output_channel(kernel):
    torch.manual_seed(0)
    ours = WeightNormUpConv(3, 5, kernel).double()
    theirs = parametrizations.weight_norm(nn.ConvTranspose2d(3, 5, kernel, stride=2).double(), dim=1)
    with torch.no_grad():
        ours.gain.normal_()
        ours.bias.normal_()
        theirs.parametrizations.weight.original0.copy_(ours.gain.view(1, 5, 1, 1))
        theirs.parametrizations.weight.original1.copy_(ours.weight)
        theirs.bias.copy_(ours.bias)
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    got, whole = ours(x), theirs(x)
    assert got.shape == (2, 5, 8, 12)
    left = (kernel[1] - 1) // 2
    # A kernel of 3 leaves a column at either side to be cropped; one of 2 nothing.
    torch.testing.assert_close(got, whole[:, :, :8, left : left + 12], rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    "layer",
    [
        WeightNormConv(3, 5, (2, 3)),
        WeightNormUpConv(3, 5, (2, 3)),
        WeightNormUpConv(5, 5, (2, 2)),
    ],
)
@torch.no_grad()
def test_the_length_of_a_direction_does_not_matter(layer):
    x = torch.randn(2, layer.weight.shape[0 if isinstance(layer, WeightNormUpConv) else 1], 6, 6)
    before = layer(x)
    factors = torch.tensor([0.1, 0.5, 1.0, 3.0, 20.0])
    output = 1 if isinstance(layer, WeightNormUpConv) else 0
    layer.weight.mul_(factors.view(*(5 if d == output else 1 for d in range(4))))
    torch.testing.assert_close(layer(x), before, rtol=1e-4, atol=1e-5)
    layer.gain[2] = 0  # and the gain belongs to one output channel
    after = layer(x)
    torch.testing.assert_close(after[:, 2], layer.bias[2].expand_as(after[:, 2]))
    torch.testing.assert_close(after[:, [0, 1, 3, 4]], before[:, [0, 1, 3, 4]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("initial_scale", [1.0, 0.1])
@pytest.mark.parametrize("weight_norm", [True, False])
@pytest.mark.parametrize("kind", ["plain", "strided", "up"])
def test_new_weights_start_near_the_wanted_size(kind, weight_norm, initial_scale):
    torch.manual_seed(0)
    options = {"init_scale": initial_scale, "weight_norm": weight_norm}
    if kind == "up":
        layer = WeightNormUpConv(16, 16, (2, 3), **options)
    else:
        layer = down_conv(16, 16, (2, 3), stride=2 if kind == "strided" else 1, **options)
    x = 3 * torch.randn(64, 16, 10, 10) + 0.5
    layer.initialising = True
    first = layer(x)
    layer.initialising = False
    torch.testing.assert_close(layer(x), first)  # the forward pass that initialises returns what comes after
    std, mean = torch.std_mean(first, dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.zeros(16), rtol=0, atol=1e-5)
    torch.testing.assert_close(std, torch.full((16,), initial_scale), rtol=1e-4, atol=0)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize(("shape", "scales"), [((1, 8, 8), 3), ((3, 6, 7), 2)])
@torch.no_grad()
def test_each_layer_is_initialised_on_what_the_layers_before_it_give(shape, scales, likelihood):
    model = build(shape, 7, scales=scales, residual_layers=2, filters=6, dtype=torch.float64, likelihood=likelihood)
    images = random_images(shape, 7, 64)
    model.train()
    model.initialise(images)
    assert model.training
    model.eval()
    # An ordinary pass afterwards. Had a layer been initialised on the outputs of layers that were not yet, or were
    # initialised later, its own outputs would now be off.
    outputs = {}
    layers = layers_of(model, WeightNormConv)
    for layer in layers:
        layer.register_forward_hook(lambda module, _, output: outputs.__setitem__(module, output))
    model.log_prob(images)
    assert set(outputs) == set(layers)
    assert {layer.init_scale for layer in layers} == {0.1, 1.0}
    for layer, output in outputs.items():
        std, mean = torch.std_mean(output, dim=(0, 2, 3), correction=0)
        assert mean.abs().max() < 1e-8
        torch.testing.assert_close(std, torch.full_like(std, layer.init_scale), rtol=1e-3, atol=0)


@torch.no_grad()
def test_second_convolutions_of_gated_layers_start_small():
    model = build((1, 8, 8), 4, scales=2)
    for name, layer in model.named_modules():
        if isinstance(layer, WeightNormConv):
            small = name.endswith(".second") or name.startswith("likelihood.logits")
            assert layer.init_scale == (0.1 if small else 1.0)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_plain_weights_are_the_same_function(likelihood):
    images = random_images((1, 6, 6), 4, 32)
    normed, plain = (
        build((1, 6, 6), 4, dtype=torch.float64, likelihood=likelihood, weight_norm=on) for on in (True, False)
    )
    torch.testing.assert_close(normed.log_prob(images), plain.log_prob(images))
    for model in (normed, plain):
        model.initialise(images)
    torch.testing.assert_close(normed.log_prob(images), plain.log_prob(images))
    assert sum(p.numel() for p in plain.parameters()) < sum(p.numel() for p in normed.parameters())


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 8), (1, 8, 1), (1, 2, 2), (3, 3, 5)])
def test_thin_images_start_sanely(shape, likelihood):
    # In a single row nothing is above: the first stream is constant, and a division by its spread would explode.
    images = random_images(shape, 4, 64)
    model = build(shape, 4, scales=3, likelihood=likelihood, dropout=0.0)
    model.initialise(images)
    loss = -model.log_prob(images).mean()
    loss.backward()
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    assert torch.isfinite(norm)
    assert norm < 1e4
    per_pixel = float(loss.detach()) / (shape[0] * shape[1] * shape[2])
    assert per_pixel < 2.5  # ln 4 = 1.39 is a uniform guess


def test_initialisation_is_the_batches_alone():
    images = random_images((1, 4, 4), 4, 32)
    model = build((1, 4, 4), 4, context=(3,))
    state = torch.get_rng_state()
    model.initialise(images)
    first = {name: value.clone() for name, value in model.state_dict().items()}
    model.initialise(images)
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, first[name])
    assert not any(layer.initialising for layer in layers_of(model, WeightNormConv))


def test_shifted_convolutions_see_what_they_should():
    # By gradient: the output at (2, 2) against a 5×5 input of one channel.
    def window(layer):
        x = torch.randn(1, 1, 5, 5, requires_grad=True)
        layer(x)[0, 0, 2, 2].backward()
        return {tuple(place) for place in x.grad[0, 0].nonzero().tolist()}

    assert window(down_conv(1, 1)) == {(r, c) for r in (1, 2) for c in (1, 2, 3)}
    assert window(down_right_conv(1, 1)) == {(r, c) for r in (1, 2) for c in (1, 2)}
