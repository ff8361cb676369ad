"""The generator against its own definition, worked out in other ways: loops, enumeration, Bayes, counting."""

import itertools
import math

import numpy as np
import pytest

from infoplane.data import Truth

TINY = np.random.default_rng(3).integers(0, 2, (4, 1, 8))  # 1×8 pixels: 4^8 = 65,536 images, all shifts differ


def slow_log_prob(x: np.ndarray, templates: np.ndarray, noise: float) -> tuple[float, list[float], list[float]]:
    """Returns log p(x), log p(x|template), log p(x|shift) of one image `(H, W)`, straight from the definition."""
    joint = np.zeros((4, 4))
    for k, j in itertools.product(range(4), range(4)):
        probability = 1.0
        for row, column in np.ndindex(x.shape):
            source = templates[k][row][(column - 2 * j) % x.shape[1]]  # shifted to the right by 2j
            clean = 3 if source == 1 else 0
            probability *= (1 - noise) * (x[row, column] == clean) + noise / 4
        joint[k, j] = probability
    return math.log(joint.mean()), [math.log(p) for p in joint.mean(1)], [math.log(p) for p in joint.mean(0)]


@pytest.fixture(scope="module")
def everything() -> np.ndarray:
    """Every image of the tiny generator, `(65536, 1, 1, 8)`."""
    grid = np.indices((4,) * 8, dtype=np.uint8).reshape(8, -1).T
    return np.ascontiguousarray(grid).reshape(-1, 1, 1, 8)


def test_templates_are_those_of_the_definition():
    # Should numpy ever change this stream, the literal stays and this test goes.
    assert np.array_equal(Truth().templates, np.random.default_rng(0).integers(0, 2, (4, 8, 8)))
    shifted = {np.roll(t, s, axis=-1).tobytes() for t in Truth().templates for s in (0, 2, 4, 6)}
    assert len(shifted) == 16


@pytest.mark.parametrize("noise", [0.2, 0.7, 1.0])
def test_log_probs_follow_the_definition(noise):
    truth = Truth(noise)
    made = truth.sample(6, seed=1).images
    wild = np.random.default_rng(2).integers(0, 4, (4, 1, 8, 8), dtype=np.uint8)
    images = np.concatenate([made, wild])
    slow = [slow_log_prob(image[0], truth.templates, noise) for image in images]
    total, by_template, by_shift = (np.array(part) for part in zip(*slow))
    close = {"rtol": 1e-12, "atol": 1e-10}
    np.testing.assert_allclose(truth.log_prob(images), total, **close)
    np.testing.assert_allclose(truth.log_prob_under_each(images, "template"), by_template, **close)
    np.testing.assert_allclose(truth.log_prob_under_each(images, "shift"), by_shift, **close)
    assert truth.log_prob(images).dtype == np.float64
    # Each image under one value: numbers and one-hot rows say the same.
    values = np.array([0, 1, 2, 3, 0, 1, 2, 3, 0, 1])
    rows = np.arange(10)
    for latent, table in (("template", by_template), ("shift", by_shift)):
        for given in (values, np.eye(4, dtype=np.float32)[values]):
            found = truth.log_prob_given(images, latent, given)
            np.testing.assert_allclose(found, table[rows, values], **close)


@pytest.mark.parametrize("noise", [0.05, 0.2, 0.7])
def test_probabilities_sum_to_one(everything, noise):
    truth = Truth(noise, _templates=TINY)
    assert np.exp(truth.log_prob(everything)).sum() == pytest.approx(1, abs=1e-12)
    for latent in ("template", "shift"):
        sums = np.exp(truth.log_prob_under_each(everything, latent)).sum(axis=0)
        np.testing.assert_allclose(sums, 1, atol=1e-12)


def test_monte_carlo_meets_enumeration(everything):
    truth = Truth(0.4, _templates=TINY)
    log_p = truth.log_prob(everything)
    entropy = -np.sum(np.exp(log_p) * log_p)
    measured = truth.entropy(draws=40_000, seed=1)
    assert abs(measured.value - entropy) < 4 * measured.stderr
    for latent in ("template", "shift"):
        given = truth.log_prob_under_each(everything, latent)
        conditional = -np.mean(np.sum(np.exp(given) * given, axis=0))
        information = truth.information(latent, draws=40_000, seed=2)
        assert 0.05 < entropy - conditional < math.log(4) - 0.05  # neither end would test much
        assert abs(information.value - (entropy - conditional)) < 4 * information.stderr
        measured = truth.conditional_entropy(latent, draws=40_000, seed=3)
        assert abs(measured.value - conditional) < 4 * measured.stderr


def test_sample_frequencies_meet_enumeration(everything):
    # Independent of the log-probabilities' code path: counts of whole images against their probabilities.
    truth = Truth(0.1, _templates=TINY)
    images = truth.sample(60_000, seed=4).images
    codes = images.reshape(-1, 8).astype(np.int64) @ (4 ** np.arange(7, -1, -1))
    expected = 60_000 * np.exp(truth.log_prob(everything))
    common = expected > 20
    assert common.sum() > 50
    counts = np.bincount(codes, minlength=len(expected))[common]
    chi2 = np.sum((counts - expected[common]) ** 2 / expected[common])
    assert abs(chi2 - common.sum()) < 5 * math.sqrt(2 * common.sum())


def test_sample_follows_the_definition():
    n, noise = 20_000, 0.2
    truth = Truth(noise)
    dataset = truth.sample(n, seed=0)
    assert (dataset.name, dataset.levels, dataset.classes, dataset.shape) == ("truth", 4, 4, (1, 8, 8))
    template, shift = dataset.latents["template"], dataset.latents["shift"]
    assert template.shape == shift.shape == (n, 4)
    assert np.array_equal(template.argmax(1), dataset.labels)
    pairs = np.bincount(4 * template.argmax(1) + shift.argmax(1), minlength=16)
    assert np.all(np.abs(pairs - n / 16) < 5 * math.sqrt(n / 16))  # uniform and independent
    clean = 3 * np.stack(
        [np.roll(truth.templates[k], 2 * j, axis=1) for k, j in zip(template.argmax(1), shift.argmax(1))]
    )
    changed = dataset.images[:, 0] != clean
    rate = 0.75 * noise  # a quarter of the replacements draw the level that was there
    assert abs(changed.mean() - rate) < 5 * math.sqrt(rate * (1 - rate) / changed.size)
    assert np.all(np.abs(changed.mean(axis=0) - rate) < 5 * math.sqrt(rate * (1 - rate) / n))  # at every pixel
    for level in (0, 3):  # and uniformly over the three other levels
        others = np.bincount(dataset.images[:, 0][changed & (clean == level)], minlength=4)
        assert others[level] == 0
        expected = others.sum() / 3
        assert all(abs(others[k] - expected) < 5 * math.sqrt(expected) for k in range(4) if k != level)


def test_samples_are_repeatable():
    first, again, other = (Truth(0.3).sample(50, seed=seed).images for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_low_noise_tells_all():
    truth = Truth(0.2)
    for latent in ("template", "shift"):
        estimate = truth.information(latent, draws=20_000, seed=0)
        assert estimate.value == pytest.approx(math.log(4), abs=1e-4)
        assert estimate.value <= math.log(4) + 1e-12
        assert (estimate.kind, estimate.bound, estimate.unit, estimate.n) == (
            "information",
            "estimate",
            "nats",
            20_000,
        )
    # Template and shift are all there is beside the noise: H(x) = ln 16 + 64 entropies of one pixel.
    kept, other = 1 - 0.75 * 0.2, 0.05
    pixel = -kept * math.log(kept) - 3 * other * math.log(other)
    entropy = truth.entropy(draws=20_000, seed=1)
    assert abs(entropy.value - (math.log(16) + 64 * pixel)) < 4 * entropy.stderr
    assert (entropy.kind, entropy.bound, entropy.unit) == ("entropy", "estimate", "nats")


def test_high_noise_meets_the_entropy_of_the_posterior():
    # H(t) − E H(t|x), the posterior by Bayes from pixel-wise products written out here, on draws of another seed.
    noise, n = 0.7, 20_000
    truth = Truth(noise)
    images = truth.sample(n, seed=11).images[:, 0]
    log_joint = np.zeros((n, 4, 4))
    for k, j in itertools.product(range(4), range(4)):
        clean = 3 * np.roll(truth.templates[k], 2 * j, axis=1)
        log_joint[:, k, j] = np.log(np.where(images == clean, 1 - noise + noise / 4, noise / 4)).sum(axis=(1, 2))
    joint = np.exp(log_joint - log_joint.max(axis=(1, 2), keepdims=True))
    for latent, axis in (("template", 2), ("shift", 1)):
        posterior = joint.sum(axis) / joint.sum((1, 2))[:, None]
        terms = math.log(4) + np.sum(posterior * np.log(posterior), axis=1)
        measured = truth.information(latent, draws=30_000, seed=7)
        error = math.hypot(terms.std() / math.sqrt(n), measured.stderr)
        assert abs(measured.value - terms.mean()) < 4 * error
        assert measured.value < math.log(4) - 0.1


def test_pure_noise_tells_nothing():
    truth = Truth(1.0)
    assert truth.information("template", draws=100, seed=0).value == pytest.approx(0, abs=1e-12)
    assert truth.entropy(draws=100, seed=0).value == pytest.approx(64 * math.log(4))


def test_same_draws_make_the_difference_of_entropies_exact():
    truth = Truth(0.7)
    information = truth.information("shift", draws=9000, seed=3).value  # more than one block
    difference = truth.entropy(9000, 3).value - truth.conditional_entropy("shift", 9000, 3).value
    assert information == pytest.approx(difference, abs=1e-9)


def test_standard_error_is_that_of_repetition():
    truth = Truth(0.7)
    runs = [truth.information("template", draws=500, seed=seed) for seed in range(100)]
    spread = np.std([run.value for run in runs], ddof=1)
    claimed = np.mean([run.stderr for run in runs])
    assert 0.75 < claimed / spread < 1.3  # the spread of 100 runs is known to 7 %


def test_results_do_not_depend_on_blocks(monkeypatch):
    truth = Truth(0.7)
    images = truth.sample(1000, seed=0).images
    whole = truth.log_prob(images)
    monkeypatch.setattr("infoplane.data.truth._CHUNK", 7)
    assert np.array_equal(truth.log_prob(images), whole)


def test_accepts_tensors_and_single_images():
    torch = pytest.importorskip("torch")
    truth = Truth()
    dataset = truth.sample(5, seed=0)
    expected = truth.log_prob_given(dataset.images, "shift", dataset.latents["shift"])
    images, shifts = torch.from_numpy(dataset.images), torch.from_numpy(dataset.latents["shift"])
    assert np.array_equal(truth.log_prob_given(images, "shift", shifts), expected)
    assert truth.log_prob(dataset.images[:1]) == pytest.approx(truth.log_prob(dataset.images)[:1])


@pytest.mark.parametrize("noise", [0, -0.1, 1.01, float("nan"), "low", True, None])
def test_noise_that_is_none(refuses, noise):
    with refuses("noise", repr(noise), "0 < noise <= 1"):
        Truth(noise)


def test_refuses_what_is_not_its_own(refuses):
    truth = Truth()
    images = truth.sample(4, seed=0).images
    with refuses("images of another shape", "(1, 8, 7)", "(1, 8, 8)"):
        truth.log_prob(images[..., :7])
    with refuses("beyond their levels", "0 to 3"):
        truth.log_prob(images + 1)
    with refuses("not uint8"):
        truth.log_prob(images / 3)
    with refuses("unknown latent", "'shfit'", "template, shift", "did you mean 'shift'?"):
        truth.information("shfit")
    with refuses("unknown latent", "template, shift"):
        truth.log_prob_under_each(images, "label")
    for bad in ([0, 1, 2], [0, 1, 2, 4], [0, 1, 2, -1], [0.0, 1.0, 2.0, 3.0], np.ones((4, 4)), np.eye(4)[:, :3]):
        with refuses("template values", "0 to 3 of shape (4,)", "one-hot rows (4, 4)"):
            truth.log_prob_given(images, "template", bad)
    with refuses("number of draws", "1", "2 or more"):
        truth.entropy(draws=1)
    with refuses("seed", "'x'"):
        truth.sample(5, seed="x")


@pytest.mark.parametrize("latent", [None, 3, "color", ["shift"], np.arange(3), len], ids=repr)
def test_a_latent_that_is_none_is_refused(latent, refuses):
    truth = Truth()
    images = truth.sample(2, 0).images
    calls = [truth.information, truth.conditional_entropy, lambda each: truth.log_prob_under_each(images, each)]
    for call in calls:
        with refuses("unknown latent of the truth generator", "template, shift"):
            call(latent)
