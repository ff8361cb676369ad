"""Fitting q(x|h): where it starts, what it learns, and how it is scored."""

import pytest
import torch

from infoplane.densities import PixelCNN
from infoplane.inversion import FitSettings, NegativeLogProb, Pairs, cross_log_probs, fit_density, log_probs, losses_of

#: steps too small to move any weight, or to give the silenced ones an effect
STILL = FitSettings(updates=1, evaluations=1, learning_rate=1e-30, warmup=0, weight_decay=0.0)
SHAPE = (1, 3, 3)
WAYS = {
    "vector": {"context": (5,)},
    "resize": {"context": (2, 4, 2), "conditioning": "resize"},
    "learned": {"context": (2, 4, 2), "conditioning": "learned"},
}


def make(*, seed=0, **options) -> PixelCNN:
    torch.manual_seed(seed)
    return PixelCNN(SHAPE, 3, filters=4, residual_layers=1, scales=2, dropout=0.2, **options)


def images_of(n, *, seed=0):
    return torch.randint(0, 3, (n, *SHAPE), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def contexts_of(shape, n, *, seed=1):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def base():
    """A fitted p(x): (model, training images, held-out images, curve)."""
    images = images_of(40)
    model = make(seed=7)
    pairs, held_out = Pairs(images[:30]), Pairs(images[30:])
    curve = fit_density(model, pairs, held_out, FitSettings(updates=15, evaluations=3), seed=0)
    return model, images[:30], images[30:], curve


@pytest.mark.parametrize("way", WAYS)
def test_a_warm_start_begins_at_the_base(base, way):
    plain, images, held, curve = base
    model = make(seed=8, **WAYS[way])
    pairs = Pairs(images, contexts_of(model.context, 30))
    held_out = Pairs(held, contexts_of(model.context, 10, seed=2))
    start = {name: value.clone() for name, value in plain.state_dict().items()}
    warm = fit_density(model, pairs, held_out, STILL, seed=0, start=start)
    assert warm.start == curve.best_loss  # to the bit
    assert warm.heldout == [curve.best_loss]
    assert torch.equal(log_probs(model, held_out), log_probs(plain, Pairs(held)))
    # It is only a start: from there the context is learned.
    further = FitSettings(updates=10, evaluations=1, learning_rate=1e-2, warmup=0)
    learned = fit_density(model, pairs, pairs, further, seed=0, start=start)
    assert learned.best_loss < learned.start
    weights = model.conditioning.output_weights()
    assert all(weight.abs().max() > 0 for weight in weights)
    # The base was copied, not shared.
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in start.items())


def test_a_start_of_another_family_is_refused(base):
    plain, images, held, _ = base
    torch.manual_seed(0)
    other = PixelCNN(SHAPE, 3, context=(5,), filters=4, residual_layers=2, scales=2)
    pairs = Pairs(images, contexts_of((5,), 30))
    with pytest.raises(ValueError, match="not of this family"):
        fit_density(other, pairs, pairs, STILL, seed=0, start=plain.state_dict())
    conditional = make(context=(5,)).state_dict()
    with pytest.raises(ValueError, match="not of this family"):
        fit_density(make(), Pairs(images), Pairs(held), STILL, seed=0, start=conditional)


@pytest.mark.parametrize("way", WAYS)
def test_a_neighbours_model_is_taken_whole(base, way):
    _, images, held, _ = base
    neighbour, model = make(seed=8, **WAYS[way]), make(seed=9, **WAYS[way])
    pairs = Pairs(images, contexts_of(model.context, 30))
    held_out = Pairs(held, contexts_of(model.context, 10, seed=2))
    curve = fit_density(neighbour, pairs, held_out, FitSettings(updates=15, evaluations=3, learning_rate=1e-2), seed=0)
    start = {name: value.clone() for name, value in neighbour.state_dict().items()}
    warm = fit_density(model, pairs, held_out, STILL, seed=0, start=start)
    assert warm.start == curve.best_loss  # to the bit, the effect of the context included
    assert torch.equal(log_probs(model, held_out), log_probs(neighbour, held_out))
    fit_density(model, pairs, held_out, FitSettings(updates=3, evaluations=1), seed=0, start=start)
    assert all(torch.equal(value, neighbour.state_dict()[name]) for name, value in start.items())  # copied, not shared


def test_a_start_with_another_context_is_refused_and_nothing_is_loaded(base):
    _, images, _, _ = base
    model = make(context=(5,))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pairs = Pairs(images, contexts_of((5,), 30))
    with pytest.raises(ValueError, match="not of this family"):
        fit_density(model, pairs, pairs, STILL, seed=0, start=make(seed=3, context=(4,)).state_dict())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    # Half a conditioning is none.
    learned = make(context=(2, 4, 2), conditioning="learned")
    half = make(seed=3, context=(2, 4, 2), conditioning="learned").state_dict()
    del half[next(name for name in half if name.startswith("conditioning."))]
    maps = Pairs(images, contexts_of((2, 4, 2), 30))
    with pytest.raises(ValueError, match="not of this family"):
        fit_density(learned, maps, maps, STILL, seed=0, start=half)


@pytest.mark.parametrize("way", WAYS)
def test_the_null_context_twin_is_trained_like_p_of_x(way):
    # Same seed, batches, dropout masks and updates; zeros for a context: the same numbers as without one.
    images = images_of(40)
    settings = FitSettings(updates=12, evaluations=3, learning_rate=1e-2)
    plain, twin = make(), make(**WAYS[way])
    expected = fit_density(plain, Pairs(images[:30]), Pairs(images[30:]), settings, seed=4)
    zeros = torch.zeros(40, *twin.context)
    got = fit_density(twin, Pairs(images[:30], zeros[:30]), Pairs(images[30:], zeros[30:]), settings, seed=4)
    assert got.heldout == expected.heldout
    assert got.heldout_ema == expected.heldout_ema
    held = images[30:]
    assert torch.equal(log_probs(twin, Pairs(held, zeros[30:])), log_probs(plain, Pairs(held)))


def test_a_fit_starts_from_data_dependent_initial_values():
    images = images_of(20)
    model, reference = make(), make()
    reference.initialise(images[:20])
    pairs = Pairs(images)
    curve = fit_density(model, pairs, pairs, STILL, seed=0)
    reference.eval()
    with torch.no_grad():
        assert curve.heldout == [-float(reference.log_prob(images).double().mean())]
    assert curve.start == curve.heldout[0]


def test_a_telling_context_is_learned():
    # h says which of two images x is: q(x|h) gets near 0 nats, q(x) cannot get below ln 2.
    two = images_of(2, seed=3)
    which = torch.arange(60) % 2
    images, context = two[which], (2.0 * which - 1)[:, None]
    settings = FitSettings(updates=120, evaluations=4, learning_rate=1e-2, batch=8)
    model, twin = make(context=(1,)), make(context=(1,))
    pairs, null = Pairs(images, context), Pairs(images, torch.zeros_like(context))
    assert fit_density(model, pairs, pairs, settings, seed=0).best_loss < 0.5
    short = settings.model_copy(update={"updates": 40})
    assert fit_density(twin, null, null, short, seed=0).best_loss > 0.69
    scores = cross_log_probs(model, pairs.subset(torch.tensor([0, 1])), torch.tensor([[-1.0], [1.0]]))
    assert (scores.diagonal() > scores.flip(1).diagonal() + 3).all()


def test_log_probs_are_those_of_the_density():
    model = make(context=(5,)).train()
    images, contexts = images_of(600), contexts_of((5,), 600)  # more than one batch of evaluation
    got = log_probs(model, Pairs(images, contexts))
    assert got.dtype == torch.float64
    assert got.shape == (600,)
    assert model.training
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(got, model.log_prob(images, contexts).double(), rtol=1e-6, atol=1e-5)
    losses = losses_of(model, NegativeLogProb(model), Pairs(images, contexts))
    assert torch.equal(losses, -got)


@pytest.mark.parametrize("batch", [1, 7, 1024])
def test_cross_log_probs_score_every_image_under_every_context(batch):
    model = make(context=(2, 4, 2)).eval()
    images, contexts = images_of(4), contexts_of((2, 4, 2), 6)
    scores = cross_log_probs(model, Pairs(images, contexts[:4]), contexts, batch=batch)
    assert scores.shape == (4, 6)
    assert scores.dtype == torch.float64
    with torch.no_grad():
        for i in range(4):
            for k in range(6):
                one = model.log_prob(images[i : i + 1], contexts[k : k + 1])
                assert float(scores[i, k]) == pytest.approx(float(one), abs=1e-4)
    assert scores.std(1).min() > 1e-3  # contexts differ, and so do their scores
