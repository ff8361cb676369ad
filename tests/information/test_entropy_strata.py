"""The entropy of a mixture with fewer draws than two per centre: draws out of strata of neighbours."""

import math

import numpy as np
import pytest
import torch

from infoplane.information.gaussian_mixture import GaussianMixture
from infoplane.information.mixture_draws import _components, _stratified, mixture_entropy

BETA, CENTRES, DRAWS, SEEDS = 0.05, 3000, 600, 200


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def clustered(dimensions):
    """3,000 weighted centres in clusters of very different size, with a few far away."""
    rng = np.random.default_rng(3)
    middles = rng.uniform(-1, 1, (6, dimensions))
    spread = np.array([0.0, 0.001, 0.01, 0.05, 0.1, 0.3])
    which = rng.choice(6, CENTRES, p=[0.5, 0.2, 0.15, 0.09, 0.04, 0.02])
    centres = middles[which] + spread[which, None] * rng.standard_normal((CENTRES, dimensions))
    # Some weights are zero; within a cluster, others differ by orders of magnitude.
    weights = rng.exponential(size=CENTRES) ** 3 * (rng.random(CENTRES) > 0.1)
    return torch.from_numpy(centres), torch.from_numpy(weights / weights.sum())


def truth(centres, weights):
    """-∫ p log p on a grid: densities that are smooth on the scale of β, which steps of β/6 resolve."""
    centres, weights = centres.numpy(), weights.numpy()
    axes = [np.arange(c.min() - 8 * BETA, c.max() + 8 * BETA, BETA / 6) for c in centres.T]
    kernels = [
        np.exp(-(((axis[:, None] - c) / BETA) ** 2) / 2) / (BETA * math.sqrt(2 * math.pi))
        for axis, c in zip(axes, centres.T, strict=True)
    ]
    density = kernels[0] @ weights if len(axes) == 1 else (kernels[0] * weights) @ kernels[1].T
    cell = (BETA / 6) ** len(axes)
    assert density.sum() * cell == pytest.approx(1, abs=1e-9)
    return float(-(density * np.log(np.maximum(density, 1e-300))).sum() * cell)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_the_error_is_right_with_clustered_weighted_centres(dimensions):
    centres, weights = clustered(dimensions)
    mixture = GaussianMixture(centres, BETA, weights)
    assert not _stratified(mixture, DRAWS), "another branch is tested"
    exact, z = truth(centres, weights), []
    for seed in range(SEEDS):
        found = mixture_entropy(centres, BETA, weights=weights, queries=DRAWS, generator=seeded(seed))
        z.append((found.value - exact) / found.stderr)
    assert 0.8 < np.var(z) < 1.25
    assert np.abs(z).max() < 5
    assert abs(np.mean(z)) < 3 / math.sqrt(SEEDS)


def test_strata_take_away_most_of_the_variance_where_clusters_differ():
    # What independent draws of a centre would leave: the variance of -log p over the whole mixture.
    centres, weights = clustered(2)
    mixture = GaussianMixture(centres, BETA, weights)
    chosen = torch.multinomial(mixture.weights, 20_000, replacement=True, generator=seeded(0))
    z = torch.randn(20_000, 2, generator=seeded(1), dtype=torch.float64)
    plain = float(mixture.log_sum(mixture.centres[chosen] + BETA * z).std()) / math.sqrt(DRAWS)
    found = mixture_entropy(centres, BETA, weights=weights, queries=DRAWS, generator=seeded(2))
    assert found.stderr < 0.75 * plain


def test_draws_follow_the_weights():
    centres, weights = clustered(2)
    mixture = GaussianMixture(centres, BETA, weights)
    counts, rounds = torch.zeros(len(mixture.centres), dtype=torch.float64), 400
    for seed in range(rounds):
        component, strata = _components(mixture, DRAWS, seeded(seed))
        assert component.shape == strata.shape == (DRAWS,)
        assert torch.equal(strata.bincount(), torch.full((DRAWS // 2,), 2))
        counts += component.bincount(minlength=len(counts))
    expected = mixture.weights / mixture.weights.sum() * DRAWS * rounds
    assert not counts[mixture.weights == 0].any()
    # A stratum's draws are independent, so no count varies more than a binomial one.
    deviation = (expected * (1 - expected / (DRAWS * rounds))).sqrt().clamp_min(1.0)
    assert float(((counts - expected) / deviation).abs().max()) < 5.5
    heavy = expected > 20
    assert heavy.sum() > 300
    # Over many centres the errors of independent draws have variance below 1, not 0: the draws are random.
    spread = float((((counts - expected) / deviation)[heavy]).var())
    assert 0.5 < spread < 1.15


def test_draws_of_one_stratum_are_neighbours():
    centres, weights = clustered(2)
    mixture = GaussianMixture(centres, BETA, weights)
    component, _ = _components(mixture, DRAWS, seeded(0))
    pairs = mixture.centres[component].view(-1, 2, 2)
    apart = float((pairs[:, 0] - pairs[:, 1]).norm(dim=1).mean())
    shuffled = mixture.centres[component[torch.randperm(DRAWS, generator=seeded(1))]].view(-1, 2, 2)
    assert apart < 0.2 * float((shuffled[:, 0] - shuffled[:, 1]).norm(dim=1).mean())


def test_an_odd_number_of_draws_is_taken_as_pairs():
    centres, weights = clustered(1)
    for queries in (4, 5, 7):
        found = mixture_entropy(centres, BETA, weights=weights, queries=queries, generator=seeded(0))
        assert math.isfinite(found.value)
        assert found.stderr > 0
