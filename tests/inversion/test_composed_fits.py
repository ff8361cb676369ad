"""Fitting densities that are put together from parts: what is solved, where training starts, what it is told."""

import math

import pytest
import torch

from infoplane.densities import Autoregressive
from infoplane.errors import UsageError
from infoplane.inversion import FitSettings, Pairs, fit_density, fit_shared, log_probs
from infoplane.inversion.invert import guided

SHAPE, LEVELS = (1, 4, 4), 9
SMALL = {"width": 16, "hidden": 8, "mixtures": 3, "up": 3, "side": 3}
#: of a template, in standard deviations of the noise
SIGNAL = 0.6
#: steps too small to move any weight
STILL = FitSettings(updates=1, evaluations=1, learning_rate=1e-30, warmup=0)


def make(context=None, *, seed=0, **options) -> Autoregressive:
    torch.manual_seed(seed)
    return Autoregressive(SHAPE, LEVELS, context, **SMALL, **options)


def templates(n: int, *, seed: int = 0):
    """Images of two faint patterns, at random, and the one-hot choice between them: of it an image tells 1 bit."""
    generator = torch.Generator().manual_seed(seed)
    which = torch.randint(2, (n,), generator=generator)
    rows = torch.tensor([1.0, 1.0, -1.0, -1.0])[:, None].expand(4, 4)
    pattern = torch.stack((rows, rows.T))[which]
    noisy = 4 + SIGNAL * pattern + torch.randn(n, 4, 4, generator=generator)
    images = noisy.round().clamp(0, LEVELS - 1).to(torch.uint8)[:, None]
    return images, torch.nn.functional.one_hot(which, 2).float()


@pytest.fixture(scope="module")
def base():
    """A fitted p(x) of the templates: (model, pairs, held-out pairs)."""
    images, _ = templates(400)
    pairs = Pairs(images)
    model = make(base="linear", seed=3)
    settings = FitSettings(updates=60, batch=64, learning_rate=6e-3, evaluations=2)
    fit_density(model, pairs.subset(torch.arange(300)), pairs.subset(torch.arange(300, 400)), settings, seed=0)
    return model, images


@pytest.mark.parametrize("form", ["biases", "decoded", "both"])
def test_a_warm_start_begins_at_the_base(base, form):
    plain, images = base
    for shape in ((5,), (2, 2, 4)):
        h = torch.randn(400, *shape, generator=torch.Generator().manual_seed(1))
        model, pairs = make(shape, base="linear", form=form, seed=8), Pairs(images, h)
        start = {name: value.clone() for name, value in plain.state_dict().items()}
        fit_density(
            model, pairs.subset(torch.arange(300)), pairs.subset(torch.arange(300, 400)), STILL, seed=0, start=start
        )
        torch.testing.assert_close(log_probs(model, pairs), log_probs(plain, Pairs(images)), atol=1e-4, rtol=0)


def test_the_same_seed_makes_the_same_bytes_and_another_other_ones():
    images, h = templates(120)
    found = []
    for seed in (0, 0, 1):
        model, pairs = make((2,), base="linear", seed=5), Pairs(images, h)
        settings = FitSettings(updates=8, batch=32, evaluations=1)
        fit_density(model, pairs.subset(torch.arange(100)), pairs.subset(torch.arange(100, 120)), settings, seed=seed)
        found.append(log_probs(model, pairs))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_what_one_bit_tells_is_found_and_no_more():
    """Two templates: I(x; h) ≤ log 2. Twin and conditional model make the same updates from one p(x).

    The truth, E log p(h|x) + log 2 on the scored images, is by Bayes' rule, given the noise before it was rounded to
    levels, which tells little more. Usable information is a difference of what two fits leave: it may differ from the
    truth by four standard errors over images and by .07 nats.
    """
    images, h = templates(3000)
    train, held, scored = (torch.arange(*ends) for ends in ((0, 1400), (1400, 1600), (1600, 3000)))
    settings = FitSettings(updates=400, batch=64, learning_rate=6e-3, evaluations=3)
    first = make(base="linear")
    fit_density(first, Pairs(images).subset(train), Pairs(images).subset(held), settings, seed=0)
    start, scores = first.state_dict(), {}
    settings = settings.model_copy(update={"updates": 150, "learning_rate": 3e-3})
    for name, context in (("twin", None), ("h", h)):
        model = make(None if context is None else (2,), base="linear", seed=1)
        pairs = Pairs(images, context)
        fit_density(model, pairs.subset(train), pairs.subset(held), settings, seed=2, start=start)
        scores[name] = log_probs(model, pairs.subset(scored))
    usable = scores["h"] - scores["twin"]
    error = float(usable.std() / math.sqrt(len(usable)))
    rows = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)[:, None].expand(4, 4)
    # log p(x|first) − log p(x|second) = Σ (x − 4)(s − t), s and t being of the same length.
    odds = ((images[scored, 0].double() - 4) * SIGNAL * (rows - rows.T)).sum((1, 2))
    answer = torch.where(h[scored, 0] > 0, odds, -odds)
    truth = float((math.log(2) - torch.nn.functional.softplus(-answer)).mean())
    assert 0.4 < truth < 0.65
    assert float(usable.mean()) == pytest.approx(truth, abs=4 * error + 0.07)
    assert float(usable.mean()) < math.log(2) + 4 * error


def test_densities_on_one_trunk_share_what_was_solved():
    images, h = templates(120)
    other = torch.randn(120, 3, generator=torch.Generator().manual_seed(0))
    contexts = {"twin": None, "h": h, "noise": other}
    models = {place: make(None if c is None else tuple(c.shape[1:]), base="linear") for place, c in contexts.items()}
    pairs = {place: Pairs(images, c) for place, c in contexts.items()}
    train = {place: own.subset(torch.arange(100)) for place, own in pairs.items()}
    held = {place: own.subset(torch.arange(100, 120)) for place, own in pairs.items()}
    fit_shared(models, train, held, FitSettings(updates=4, batch=16, evaluations=1), seed=0)
    for place, model in models.items():
        assert torch.equal(model.base.weight, models["twin"].base.weight)
        assert model.base.weight.abs().max() > 0
        if contexts[place] is not None:
            assert model.reader.readout.weight.abs().max() > 0
    for place in ("h", "noise"):
        models[place].silence_context()
        found = log_probs(models[place], pairs[place])
        torch.testing.assert_close(found, log_probs(models["twin"], pairs["twin"]), atol=1e-4, rtol=0)


def test_training_is_told_of_each_image_what_others_say_of_it():
    images, h = templates(90)
    groups = torch.arange(90) // 3
    pairs = Pairs(images, h, groups=groups)
    model = make((2,), base="linear")
    told = guided(model, pairs, seed=0)
    rows = torch.tensor([4, 80, 11])
    x, context, guide = told.training_batch(rows)
    assert torch.equal(x, images[rows])
    assert torch.equal(context, h[rows])
    assert guide.shape == x.shape
    assert not torch.allclose(guide, model.reader.readout(context), atol=1e-4)
    # Of one group and one context: predicted by one solution, so the same; without the groups they would differ.
    alike = [g for g in range(30) if len(h[3 * g : 3 * g + 3].unique(dim=0)) == 1]
    for g in alike[:5]:
        _, _, same = told.training_batch(torch.arange(3 * g, 3 * g + 3))
        torch.testing.assert_close(same, same[:1].expand_as(same))
    # A part of the pairs knows nothing of what was said of all of them.
    assert len(told.subset(rows).training_batch(torch.tensor([0]))) == 2
    assert torch.equal(told.subset(rows).groups, groups[rows])


def test_groups_that_pair_with_no_images_are_refused():
    images, h = templates(10)
    with pytest.raises(UsageError, match="groups do not pair"):
        Pairs(images, h, groups=torch.arange(9))
