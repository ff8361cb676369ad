"""The density of a Gaussian mixture, whichever way computes it, against float64 sums over all centres."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infoplane.information import mixture_blocks
from infoplane.information.gaussian_mixture import GaussianMixture, fold
from infoplane.information.mixture_blocks import BlockTree
from infoplane.information.sample_propagation import log_density


def brute(queries, centres, beta, weights=None):
    """log p by summing over every centre in float64, differences first."""
    weights = torch.full((len(centres),), 1.0, dtype=torch.float64) if weights is None else weights
    log_weights = (weights / weights.sum()).log()
    found = []
    for part in queries.split(max(1, 2**20 // centres.numel())):  # what a processor has at hand
        distance = ((part[:, None] - centres) / beta).square().sum(2)
        found.append((log_weights - distance / 2).logsumexp(1))
    return torch.cat(found) - centres.shape[1] * (math.log(beta) + 0.5 * math.log(2 * math.pi))


def rounding(reference, d):
    """What float64 loses on squared distances that large, in either computation."""
    return reference.abs() * (d + 3) * 2.0**-51


def cloud(kind, n, d, generator):
    """Centres of one kind: (n, d)."""
    if kind == "uniform":
        return 2 * torch.rand(n, d, generator=generator, dtype=torch.float64) - 1
    if kind == "saturated":
        return torch.tanh(5 * torch.randn(n, d, generator=generator, dtype=torch.float64))
    if kind == "clustered":
        middle = torch.randn(5, d, generator=generator, dtype=torch.float64)
        noise = torch.randn(n, d, generator=generator, dtype=torch.float64)
        return middle[torch.randint(5, (n,), generator=generator)] + 1e-3 * noise
    if kind == "duplicated":
        return torch.randint(-2, 3, (n, d), generator=generator).double()
    assert kind == "line"
    return torch.linspace(-100, 100, n, dtype=torch.float64)[:, None] * torch.ones(d, dtype=torch.float64)


KINDS = ["uniform", "saturated", "clustered", "duplicated", "line"]
WAYS = ["chosen", "blocks", "few", "direct", "neighbours", "fourier"]


def by(way, mixture, queries):
    """log p by one of the ways, or None where it does not offer itself."""
    if way == "chosen":
        return mixture.log_density(queries)
    if way == "neighbours":
        return mixture._by_neighbours(queries, 2.0) + mixture.log_peak
    if way == "fourier":
        _, _, typical = mixture.blocks.probe(queries[:50])
        fourier = mixture._fourier(queries, typical) if mixture.dimensions <= 3 else None
        return None if fourier is None else mixture._by_fourier(queries, fourier) + mixture.log_peak
    mixture.blocks.sparse, mixture.blocks.direct = way == "few", way == "direct"
    return mixture.blocks.log_sum(queries) + mixture.log_peak


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(KINDS),
    d=st.integers(1, 6),
    beta=st.sampled_from([1e-7, 0.005, 0.1, 1.0]),
    tolerance=st.sampled_from([1e-9, 1e-6]),
    weighted=st.booleans(),
    far=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_every_way_keeps_its_tolerance(way, kind, d, beta, tolerance, weighted, far, seed):
    generator = torch.Generator().manual_seed(seed)
    n, m = 3000, 60
    centres = cloud(kind, n, d, generator)
    weights = None
    if weighted:  # from 1e-12 to 1
        weights = 10 ** (-12 * torch.rand(n, generator=generator, dtype=torch.float64))
    chosen = torch.randint(n, (m,), generator=generator)
    queries = centres[chosen] + beta * torch.randn(m, d, generator=generator, dtype=torch.float64)
    if far:
        queries[::2] += 3 * torch.randn(m // 2, d, generator=generator, dtype=torch.float64)
    expected = brute(queries, centres, beta, weights)
    found = by(way, GaussianMixture(centres, beta, weights, tolerance=tolerance), queries)
    if found is not None:
        assert ((found - expected).abs() <= tolerance + rounding(expected, d)).all()


@pytest.mark.parametrize("kind", ["uniform", "saturated"])
@pytest.mark.parametrize(("d", "beta"), [(1, 0.1), (2, 0.005), (3, 0.1), (10, 0.1)])
def test_every_way_keeps_its_tolerance_where_there_are_many_centres(kind, d, beta):
    """All ways against one sum over all centres, which takes longer than any of them."""
    generator = torch.Generator().manual_seed(d)
    centres = cloud(kind, 40_000, d, generator)
    queries = centres[:300] + beta * torch.randn(300, d, generator=generator, dtype=torch.float64)
    expected = brute(queries, centres, beta)
    for way in WAYS:
        found = by(way, GaussianMixture(centres, beta), queries)
        # The transform is for wide Gaussians in few dimensions; there it must be had.
        assert found is not None or (way == "fourier" and (d, beta) != (3, 0.1)), way
        if found is not None:
            assert (found - expected).abs().max() < 1e-9, way


@pytest.mark.parametrize(
    ("kind", "d", "beta", "way"),
    [
        ("uniform", 3, 0.005, "neighbours"),
        ("uniform", 10, 0.005, "neighbours"),
        ("saturated", 10, 0.005, "neighbours"),
        ("saturated", 3, 0.005, "blocks"),
        ("uniform", 3, 0.1, "fourier"),
        ("uniform", 10, 0.1, "blocks"),
    ],
)
def test_the_way_that_is_chosen_is_the_one_for_the_case(monkeypatch, kind, d, beta, way):
    taken = []
    for name in ("neighbours", "fourier"):
        real = getattr(GaussianMixture, f"_by_{name}")
        monkeypatch.setattr(
            GaussianMixture, f"_by_{name}", lambda *args, name=name, real=real: taken.append(name) or real(*args)
        )
    generator = torch.Generator().manual_seed(1)
    centres = cloud(kind, 40_000, d, generator)
    queries = centres[:20_000] + beta * torch.randn(20_000, d, generator=generator, dtype=torch.float64)
    found = GaussianMixture(centres, beta).log_density(queries)
    assert (taken or ["blocks"]) == [way]
    assert (found[:100] - brute(queries[:100], centres, beta)).abs().max() < 1e-9


def test_a_few_crowded_or_far_queries_among_lonely_ones_get_their_sums():
    generator = torch.Generator().manual_seed(2)
    lonely, crowd = cloud("uniform", 30_000, 3, generator), 1e-3 * torch.randn(300, 3, dtype=torch.float64)
    centres, beta = torch.cat([lonely, crowd]), 0.002
    queries = lonely[:400] + beta * torch.randn(400, 3, generator=generator, dtype=torch.float64)
    queries[::100] = crowd[:4]
    queries[1::100] += 50.0
    mixture = GaussianMixture(centres, beta)
    expected = brute(queries, centres, beta)
    found = mixture._by_neighbours(queries, 1.0) + mixture.log_peak
    assert ((found - expected).abs() <= 1e-9 + rounding(expected, 3)).all()


def test_blocks_leave_most_centres_out():
    generator = torch.Generator().manual_seed(0)
    centres = cloud("uniform", 60_000, 3, generator)
    tree = BlockTree(centres, torch.full((60_000,), -math.log(60_000), dtype=torch.float64), 0.005, 1e-9)
    inside, blocks, _ = tree.probe(centres[:100])
    assert blocks < 20 < len(tree.centres)
    assert inside < 30


def test_blocks_are_what_they_say(monkeypatch):
    monkeypatch.setitem(mixture_blocks.BLOCK, "cpu", 8)
    generator = torch.Generator().manual_seed(0)
    centres = cloud("saturated", 1001, 3, generator)
    weights = torch.rand(1001, generator=generator, dtype=torch.float64)
    tree = BlockTree(centres, (weights / weights.sum()).log(), 0.01, 1e-9)
    real = tree.log_weights > mixture_blocks.NOTHING
    assert int(real.sum()) == 1001
    assert tree.log_weights[real].exp().sum().item() == pytest.approx(1)
    kept = tree.centres[real]
    assert torch.equal(kept[kept[:, 0].argsort()], centres[centres[:, 0].argsort()])
    low, high = tree.boxes[-1]
    assert (tree.centres >= low[:, None]).all()
    assert (tree.centres <= high[:, None]).all()


def test_queries_that_come_alone_or_in_crowds_get_the_same(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    centres = cloud("uniform", 5000, 2, generator)
    queries = centres[:200] + 0.01
    mixture = GaussianMixture(centres, 0.05)
    together = mixture.log_density(queries)
    monkeypatch.setattr(mixture_blocks, "FRONTIER", 64)
    torch.testing.assert_close(GaussianMixture(centres, 0.05).log_density(queries), together, atol=1e-9, rtol=0)
    alone = torch.cat([mixture.log_density(query[None]) for query in queries[:20]])
    torch.testing.assert_close(alone, together[:20], atol=1e-9, rtol=0)


def test_integrates_to_one():
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(50, 1, generator=generator, dtype=torch.float64)
    grid = torch.linspace(-1, 2, 20_001, dtype=torch.float64)[:, None]
    assert float(log_density(grid, centres, 0.02).exp().sum()) * 3 / 20_000 == pytest.approx(1, abs=1e-9)


def test_against_scikit_learn():
    from sklearn.neighbors import KernelDensity

    rng = np.random.default_rng(0)
    centres, queries = rng.normal(size=(500, 3)), rng.normal(size=(40, 3))
    weights = rng.random(500)
    peer = KernelDensity(bandwidth=0.3, rtol=1e-12).fit(centres, sample_weight=weights)
    found = log_density(torch.tensor(queries), torch.tensor(centres), 0.3, torch.tensor(weights))
    np.testing.assert_allclose(found.numpy(), peer.score_samples(queries), atol=1e-8)


def test_identical_centres_are_folded_exactly():
    points = torch.tensor([[0.0, 1.0], [1.0, 0.0], [-0.0, 1.0], [0.0, 1.0 + 2**-52], [1.0, 0.0]], dtype=torch.float64)
    kept, weights = fold(points, torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0], dtype=torch.float64))
    found = {tuple(point): weight for point, weight in zip(kept.tolist(), weights.tolist(), strict=True)}
    assert found == {(0.0, 1.0): 5.0, (1.0, 0.0): 18.0, (0.0, 1.0 + 2**-52): 8.0}


def test_rows_that_share_a_number_are_not_confused(monkeypatch):
    # All numbers the same: then rows themselves must decide.
    class Zero:
        def integers(self, *_, **__):
            return np.zeros(2, np.uint64) - np.uint64(0)

    real = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: Zero() if seed == 0 else real(seed))
    points = torch.tensor([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0], [4.0, 4.0]], dtype=torch.float64)
    kept, weights = fold(points, torch.ones(4, dtype=torch.float64))
    assert sorted(map(tuple, kept.tolist())) == [(1.0, 2.0), (2.0, 1.0), (4.0, 4.0)]
    assert float(weights.sum()) == 4


GOOD = torch.zeros(3, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"beta": 0.0}, ("beta must be a positive number", "received 0.0")),
        ({"beta": -1.0}, ("beta must be a positive number",)),
        ({"beta": float("nan")}, ("beta must be a positive number",)),
        ({"centres": torch.zeros(3)}, ("centres must be points", "shape (3,)")),
        ({"centres": torch.zeros(0, 2)}, ("centres must be points",)),
        ({"centres": torch.tensor([[1.0, float("nan")]])}, ("centres are not finite", "1 of 2")),
        ({"queries": torch.zeros(4, 3)}, ("queries and centres differ in dimensions", "3 and 2")),
        ({"queries": torch.full((4, 2), float("inf"))}, ("queries are not finite", "8 of 8")),
        ({"weights": torch.ones(2)}, ("weights and centres differ in number",)),
        ({"weights": torch.tensor([1.0, -1.0, 1.0])}, ("weights must be finite, not negative",)),
        ({"weights": torch.zeros(3)}, ("not all zero",)),
        ({"tolerance": 0.0}, ("tolerance is out of range",)),
    ],
)
def test_bad_input_is_one_line(refuses, change, words):
    given = {"queries": torch.zeros(4, 2), "centres": GOOD, "beta": 0.1} | change
    with refuses(*words):
        log_density(**given)


def test_a_weight_of_zero_is_no_centre():
    centres = torch.tensor([[0.0], [5.0]])
    found = log_density(torch.tensor([[5.0]]), centres, 1.0, torch.tensor([1.0, 0.0]))
    assert float(found) == pytest.approx(-12.5 - 0.5 * math.log(2 * math.pi))
