"""One pixel's distribution against its definition, worked out slowly from the same raw parameters."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import special, stats

from infoplane.densities import Categorical, LogisticMixture
from tiny_densities import every_image, scramble

FEATURES = 6


def all_pixels(channels: int, levels: int) -> torch.Tensor:
    """Returns every value that one pixel can have: (levels ** channels, channels, 1, 1)."""
    return every_image((channels, 1, 1), levels)


def one_feature(n: int, seed: int = 5) -> torch.Tensor:
    """Returns one random feature vector, repeated: (n, FEATURES, 1, 1)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, FEATURES, 1, 1, generator=generator, dtype=torch.float64).expand(n, -1, -1, -1)


def logistic_masses(levels: int, mean: float, scale: float) -> np.ndarray:
    """P(level k) of a logistic whose bins meet half-way between the levels −1 … 1."""
    grid = np.linspace(-1, 1, levels)
    below = stats.logistic.cdf((grid[:-1] + grid[1:]) / 2, mean, scale)
    return np.diff(below, prepend=0, append=1)


@pytest.mark.parametrize(("channels", "levels", "mixtures"), [(1, 7, 4), (2, 5, 1), (3, 3, 4), (4, 2, 3)])
def test_mixture_of_logistics_follows_its_definition(channels, levels, mixtures):
    torch.manual_seed(0)
    likelihood = scramble(LogisticMixture(FEATURES, channels, levels, mixtures=mixtures).double(), 0.8, seed=2)
    pixels = all_pixels(channels, levels)
    features = one_feature(len(pixels))
    got = likelihood.log_prob(features, pixels).exp().flatten().detach().numpy()

    raw = likelihood.parameters_of(F.elu(features[:1])).flatten().detach().numpy()
    weights, means, log_scales, couplings = np.split(
        raw, np.cumsum([mixtures, mixtures * channels, mixtures * channels])
    )
    means, log_scales = means.reshape(mixtures, channels), log_scales.reshape(mixtures, channels)
    couplings = np.tanh(couplings.reshape(mixtures, -1))
    expected = []
    for value in itertools.product(range(levels), repeat=channels):
        scaled = [2 * level / (levels - 1) - 1 for level in value]
        total = 0.0
        for m, weight in enumerate(special.softmax(weights)):  # one indicator for all channels
            product, coupling = weight, iter(couplings[m])
            for c in range(channels):
                mean = means[m, c] + sum(next(coupling) * scaled[j] for j in range(c))
                product *= logistic_masses(levels, mean, np.exp(log_scales[m, c]))[value[c]]
            total += product
        expected.append(total)
    np.testing.assert_allclose(got, expected, rtol=1e-9)
    assert sum(expected) == pytest.approx(1, abs=1e-12)


def test_channels_of_the_mixture_share_its_indicator():
    # Two far and narrow components at (−1, −1) and (1, 1): were the indicator drawn per channel, (−1, 1) would have
    # as much mass.
    likelihood = LogisticMixture(FEATURES, 2, 2, mixtures=2).double()
    with torch.no_grad():
        likelihood.parameters_of.gain.zero_()
        means, log_scales, coupling = [-1.0, -1.0, 1.0, 1.0], [-3.0] * 4, [0.0, 0.0]
        likelihood.parameters_of.bias.copy_(torch.tensor([0.0, 0.0, *means, *log_scales, *coupling]))
        got = likelihood.log_prob(one_feature(4), all_pixels(2, 2)).exp().flatten()
    torch.testing.assert_close(got, torch.tensor([0.5, 0, 0, 0.5], dtype=torch.float64), rtol=0, atol=1e-6)
    drawn = likelihood.sample(one_feature(200), torch.Generator().manual_seed(0)).flatten(1)
    assert (drawn[:, 0] == drawn[:, 1]).all()
    assert 60 < drawn[:, 0].sum() < 140


@pytest.mark.parametrize(("channels", "levels"), [(1, 5), (2, 4), (3, 3)])
def test_categorical_follows_its_definition(channels, levels):
    torch.manual_seed(0)
    likelihood = scramble(Categorical(FEATURES, channels, levels).double(), 0.8, seed=2)
    pixels = all_pixels(channels, levels)
    features = one_feature(len(pixels))
    got = likelihood.log_prob(features, pixels).flatten().detach().numpy()

    def matrix(conv):
        v = conv.weight.detach().numpy()[:, :, 0, 0]
        g, b = conv.gain.detach().numpy(), conv.bias.detach().numpy()
        return g[:, None] * v / np.linalg.norm(v, axis=1, keepdims=True), b

    def elu(x):
        return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))

    f = elu(features[0, :, 0, 0].numpy())
    expected = []
    for value in itertools.product(range(levels), repeat=channels):
        total = 0.0
        for c in range(channels):
            h = f
            if channels > 1:
                w, b = matrix(likelihood.hidden[c])
                h = w @ f + b
                for j in range(c):
                    h = h + likelihood.previous[c - 1].weight.detach().numpy()[j * levels + value[j]]
                h = elu(np.concatenate([h, -h]))
            w, b = matrix(likelihood.logits[c])
            total += special.log_softmax(w @ h + b)[value[c]]
        expected.append(total)
    np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-11)
    assert np.exp(expected).sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("kind", ["categorical", "one logistic"])
def test_channels_are_causal(kind):
    """q(c) from marginalising all later channels; q(c | before) depends on those before and on none after."""
    levels, channels = 3, 3
    torch.manual_seed(0)
    if kind == "categorical":
        likelihood = scramble(Categorical(FEATURES, channels, levels).double(), 0.8, seed=2)
    else:
        likelihood = scramble(LogisticMixture(FEATURES, channels, levels, mixtures=1).double(), 0.8, seed=2)
    pixels = all_pixels(channels, levels)
    joint = likelihood.log_prob(one_feature(len(pixels)), pixels).exp().detach().view(levels, levels, levels)

    # Change what only later channels may see: their own parameters. The marginals of earlier channels must stay.
    with torch.no_grad():
        if kind == "categorical":
            likelihood.logits[2].bias.add_(torch.tensor([0.0, 1.0, -2.0]))
            likelihood.previous[1].weight.mul_(2)
        else:
            likelihood.parameters_of.bias[3] += 0.7  # the third channel's mean
            likelihood.parameters_of.bias[8:] -= 0.9  # what it takes from the first two
    changed = likelihood.log_prob(one_feature(len(pixels)), pixels).exp().detach().view(levels, levels, levels)
    assert not torch.allclose(changed, joint)
    torch.testing.assert_close(changed.sum(2), joint.sum(2), rtol=0, atol=1e-13)

    second = joint.sum(2) / joint.sum((1, 2))[:, None]
    third = joint / joint.sum(2, keepdim=True)
    torch.testing.assert_close(second.sum(1), torch.ones(levels).double(), rtol=0, atol=1e-13)
    # And the dependence on earlier channels is real.
    assert (second[0] - second[2]).abs().max() > 1e-3
    assert (third[0, 0] - third[2, 0]).abs().max() > 1e-3
    assert (third[0, 0] - third[0, 2]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", [Categorical, LogisticMixture])
def test_samples_of_one_pixel_have_its_distribution(kind):
    levels, channels, n = 4, 2, 20_000
    torch.manual_seed(0)
    likelihood = scramble(kind(FEATURES, channels, levels).double(), 0.5, seed=2)
    pixels = all_pixels(channels, levels)
    expected = likelihood.log_prob(one_feature(len(pixels)), pixels).exp().detach().flatten().numpy()
    drawn = likelihood.sample(one_feature(n), torch.Generator().manual_seed(0)).flatten(1)
    counts = np.bincount((drawn[:, 0] * levels + drawn[:, 1]).numpy(), minlength=levels**2)
    kept = expected * n >= 5
    observed, wanted = np.append(counts[kept], counts[~kept].sum()), np.append(expected[kept], expected[~kept].sum())
    if wanted[-1] * n < 1:
        observed, wanted = observed[:-1], wanted[:-1] / wanted[:-1].sum() * observed[:-1].sum() / n
    assert stats.chisquare(observed, wanted * n).pvalue > 1e-3
