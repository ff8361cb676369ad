"""Densities of many places on one trunk: what they share, what they do not, and what they learn."""

import math
from collections import Counter

import pytest
import torch

from infoplane.densities import PixelCNN
from infoplane.errors import FitError
from infoplane.inversion import FitSettings, Pairs, fit_density, fit_shared, log_probs
from infoplane.inversion.shared import SharedTrunk, trunk_of

SHAPE = (1, 3, 3)
CONTEXTS = {"layer1.0.conv1@30": (2, 4, 2), "fc3@30": (5,), "fc3@end": (5,), "null": None}
SHORT = FitSettings(updates=4, evaluations=3, batch=4, learning_rate=1e-2, warmup=0)


def make(context=None, *, seed=0, **options) -> PixelCNN:
    torch.manual_seed(seed)
    chosen = {"filters": 4, "residual_layers": 1, "scales": 2, "dropout": 0.2} | options
    return PixelCNN(SHAPE, 3, context, **chosen)


def densities_of(contexts=CONTEXTS, **options) -> dict[str, PixelCNN]:
    return {place: make(context, seed=k, **options) for k, (place, context) in enumerate(contexts.items())}


def pairs_of(n, contexts=CONTEXTS, *, seed=0) -> dict[str, Pairs]:
    """Pairs of mostly dark images, so that there is something to learn, with contexts that mean nothing."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 3, (n, *SHAPE), generator=generator, dtype=torch.uint8)
    images *= torch.rand(n, *SHAPE, generator=generator) < 0.3
    drawn = {place: None if c is None else torch.randn(n, *c, generator=generator) for place, c in contexts.items()}
    return {place: Pairs(images, context) for place, context in drawn.items()}


def fitted(*, seed=3, settings=SHORT, **options):
    densities = densities_of(**options)
    held_out = pairs_of(9, seed=1)
    curve = fit_shared(densities, pairs_of(20), held_out, settings, seed=seed)
    return densities, held_out, curve


@pytest.fixture(scope="module")
def trained():
    return fitted()


# --- what is shared and what is not --------------------------------------------------------------------------------


def test_the_twin_is_every_place_under_a_context_of_zeros(trained):
    densities, held_out, _ = trained
    expected = log_probs(densities["null"], held_out["null"])
    for place, context in CONTEXTS.items():
        if context is not None:
            zeros = Pairs(held_out[place].images, torch.zeros(9, *context))
            assert torch.equal(log_probs(densities[place], zeros), expected)
            # Its own context does something.
            assert not torch.equal(log_probs(densities[place], held_out[place]), expected)


def test_a_places_state_is_that_of_a_density_of_its_own(trained):
    densities, held_out, _ = trained
    for place, context in CONTEXTS.items():
        alone = make(context, seed=99)
        alone.load_state_dict(densities[place].state_dict())  # strict: nothing missing, nothing beyond
        assert torch.equal(log_probs(alone, held_out[place]), log_probs(densities[place], held_out[place]))
        given = held_out[place].context
        draws = [
            model.sample(given, n=9, generator=torch.Generator().manual_seed(0)) for model in (alone, densities[place])
        ]
        assert torch.equal(*draws)


def test_one_trunk_and_a_conditioning_for_each():
    densities = densities_of()
    expected = [value.clone() for value in trunk_of(densities["layer1.0.conv1@30"]).values()]
    shared = SharedTrunk(densities)
    trunks = [trunk_of(density) for density in densities.values()]
    assert all(trunk[name] is weight for trunk in trunks for name, weight in trunks[0].items())
    assert all(torch.equal(a, b) for a, b in zip(trunks[0].values(), expected, strict=True))  # the first's
    adapters = [list(density.context_parameters()) for density in densities.values()]
    ids = [{id(p) for p in own} for own in adapters]
    assert [len(own) > 0 for own in adapters] == [True, True, True, False]
    assert len(set.union(*ids)) == sum(map(len, ids))  # none in two places
    assert len(list(shared.parameters())) == len(trunks[0]) + sum(map(len, ids))  # each once


def test_adapters_do_not_leak_between_places(trained):
    densities, held_out, _ = trained
    SharedTrunk(densities)
    before = {place: log_probs(density, held_out[place]) for place, density in densities.items()}
    changed = "fc3@30"
    kept = [p.detach().clone() for p in densities[changed].context_parameters()]
    with torch.no_grad():
        for parameter in densities[changed].context_parameters():
            parameter.add_(0.5)
    after = {place: log_probs(density, held_out[place]) for place, density in densities.items()}
    with torch.no_grad():
        for parameter, value in zip(densities[changed].context_parameters(), kept):
            parameter.copy_(value)
    assert {place for place in CONTEXTS if not torch.equal(before[place], after[place])} == {changed}


def test_a_places_batch_moves_the_trunk_and_its_own_adapter_only():
    densities = densities_of(dropout=0.0)
    pairs = pairs_of(20)
    moved = []
    before = {}

    def note(*_):
        now = {name: [p.detach().clone() for p in d.context_parameters()] for name, d in densities.items()}
        now["trunk"] = [p.detach().clone() for p in trunk_of(densities["null"]).values()]
        if before:
            moved.append({k for k in now if any(not torch.equal(a, b) for a, b in zip(now[k], before[k]))})
        before.update(now)

    # The last evaluation would put other weights back only after the last note.
    settings = SHORT.model_copy(update={"evaluations": 1, "updates": 5})
    fit_shared(densities, pairs, pairs_of(9, seed=1), settings, seed=0, progress=note)
    assert len(moved) == 5 * 4 - 1
    assert all("trunk" in names and len(names) <= 2 for names in moved)
    adapters = Counter(name for names in moved for name in names - {"trunk"})
    assert set(adapters) == {place for place in CONTEXTS if place != "null"}


# --- how they are trained ------------------------------------------------------------------------------------------


class Watched(Pairs):
    """Pairs that note who was asked for which examples in training."""

    def watch(self, place, log) -> "Watched":
        self.place, self.log = place, log
        return self

    def batch(self, index):
        self.log.append((self.place, index.tolist()))
        return super().batch(index)


def test_in_every_round_each_place_has_its_turn():
    log = []
    pairs = {p: Watched(pair.images, pair.context).watch(p, log) for p, pair in pairs_of(12).items()}
    settings = SHORT.model_copy(update={"updates": 9})
    curve = fit_shared(densities_of(), pairs, pairs_of(9, seed=1), settings, seed=0)
    rounds = [[place for place, _ in log[k : k + 4]] for k in range(0, len(log), 4)]
    assert len(log) == curve.updates[-1] == 9 * 4  # as many for each as `updates` says
    assert all(sorted(turns) == sorted(CONTEXTS) for turns in rounds)
    assert len({tuple(turns) for turns in rounds}) > 3
    # Every example once per epoch of each place, and not the same ones at all places of a round.
    for place in CONTEXTS:
        seen = [i for name, index in log if name == place for i in index]
        assert all(sorted(seen[k : k + 12]) == list(range(12)) for k in range(0, 36, 12))
    assert len({tuple(index) for _, index in log[:4]}) > 1


def test_the_kept_weights_have_the_least_mean_loss():
    densities, held_out, curve = fitted(settings=SHORT.model_copy(update={"updates": 12}))
    means = [-float(log_probs(density, held_out[place]).mean()) for place, density in densities.items()]
    assert sum(means) / 4 == pytest.approx(curve.best_loss, abs=1e-9)
    assert curve.best_loss == min([curve.start, *curve.heldout, *curve.heldout_ema]) < curve.start
    assert not any(density.training for density in densities.values())


def test_one_place_alone_is_trained_as_by_itself():
    # With batches of all examples and no dropout the order of examples is all that can differ.
    settings = FitSettings(updates=12, evaluations=4, batch=20, learning_rate=1e-2)
    contexts = {"a": (5,)}
    pairs, held_out = pairs_of(20, contexts), pairs_of(9, contexts, seed=1)
    alone, together = make((5,), dropout=0.0), make((5,), dropout=0.0)
    expected = fit_density(alone, pairs["a"], held_out["a"], settings, seed=0)
    got = fit_shared({"a": together}, pairs, held_out, settings, seed=0)
    assert got.heldout == pytest.approx(expected.heldout, abs=1e-3)
    assert got.heldout_ema == pytest.approx(expected.heldout_ema, abs=1e-3)
    assert got.updates == expected.updates


def test_the_context_may_learn_at_its_own_rate():
    densities = densities_of(dropout=0.0)
    pairs = pairs_of(20)
    for density in densities.values():
        density.initialise(pairs["null"].images)
    SharedTrunk(densities)
    adapters = {place: [p.detach().clone() for p in d.context_parameters()] for place, d in densities.items()}
    settings = FitSettings(
        updates=1, evaluations=1, learning_rate=1e-3, context_rate=5.0, warmup=0, schedule="constant", ema=0.0, batch=20
    )
    curve = fit_shared(densities, pairs, pairs, settings, seed=0)
    assert (curve.best, curve.best_update) == ("raw", 4)
    # Adam's first step is the learning rate, and each adapter had one.
    for place, before in adapters.items():
        moved = [(p.detach() - old).abs().flatten() for p, old in zip(densities[place].context_parameters(), before)]
        assert not moved or torch.cat(moved).median() == pytest.approx(5e-3, rel=1e-3)


def test_the_same_seed_gives_the_same_bits(trained):
    state = torch.get_rng_state()
    densities, _, curve = trained
    again, _, same_curve = fitted()
    torch.rand(3)  # the caller's random state does not matter
    other, _, other_curve = fitted(seed=4)
    assert curve == same_curve
    assert curve.heldout != other_curve.heldout
    for place, density in densities.items():
        weights = zip(density.parameters(), again[place].parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in weights)
        assert any(not torch.equal(a, b) for a, b in zip(density.parameters(), other[place].parameters(), strict=True))
    torch.set_rng_state(state)


def test_the_callers_random_state_stays():
    densities, pairs = densities_of(), pairs_of(9)
    state = torch.get_rng_state()
    fit_shared(densities, pairs, pairs, SHORT, seed=0)
    assert torch.equal(torch.get_rng_state(), state)


# --- what they learn -----------------------------------------------------------------------------------------------


def test_places_that_know_different_things_are_told_apart():
    """One of four patterns, and a last pixel of its own: H(x) = ln 4 + ln 3; places know 0, 1 or 2 bits of it."""
    generator = torch.Generator().manual_seed(0)

    def draw(n):
        which = torch.randint(4, (n,), generator=generator)
        patterns = torch.randint(0, 3, (4, *SHAPE), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)
        images = patterns[which].clone()
        images[:, 0, 2, 2] = torch.randint(0, 3, (n,), generator=generator, dtype=torch.uint8)
        noise = torch.randn(n, 1, 2, 2, generator=generator)
        high, low = (2.0 * (which // 2) - 1)[:, None], (2.0 * (which % 2) - 1)[:, None]
        contexts = {"null": None, "noise": noise, "one bit": high, "two bits": torch.cat((high, low), 1)}
        return {place: Pairs(images, context) for place, context in contexts.items()}

    pairs, held_out, fresh = draw(1500), draw(300), draw(2000)
    shapes = {"null": None, "noise": (1, 2, 2), "one bit": (1,), "two bits": (2,)}
    densities = densities_of(shapes, dropout=0.0, filters=8, scales=1)
    settings = FitSettings(updates=120, evaluations=4, batch=16, learning_rate=1e-2)
    fit_shared(densities, pairs, held_out, settings, seed=0)
    nats = {place: -float(log_probs(density, fresh[place]).mean()) for place, density in densities.items()}
    truth = {"null": math.log(12), "noise": math.log(12), "one bit": math.log(6), "two bits": math.log(3)}
    for place, expected in truth.items():
        # Under the truth every image of a place costs the same, so there is no sampling error in it.
        assert expected - 0.02 < nats[place] < expected + 0.12, place


# --- what goes wrong -----------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_names_the_place():
    densities = densities_of()
    with torch.no_grad():
        next(densities["fc3@end"].context_parameters()).fill_(math.nan)
    with pytest.raises(FitError) as caught:
        fit_shared(densities, pairs_of(20), pairs_of(9, seed=1), SHORT, seed=0)
    message = str(caught.value)
    assert "\n" not in message
    assert "diverged at step" in message
    assert "of 16" in message
    assert "at fc3@end" in message


def test_what_does_not_go_together_is_refused(refuses):
    densities, pairs = densities_of(), pairs_of(9)
    fewer = {place: pair for place, pair in pairs.items() if place != "null"}
    with refuses("not of the same places", "fc3@end"):
        fit_shared(densities, fewer, pairs, SHORT, seed=0)
    with refuses("cannot share a trunk", "null differs from layer1.0.conv1@30"):
        fit_shared({**densities, "null": make(filters=5)}, pairs, pairs, SHORT, seed=0)
    with refuses("cannot share a trunk", "null differs from"):
        SharedTrunk({**densities, "null": PixelCNN(SHAPE, 4, None, filters=4, residual_layers=1, scales=2)})
    with refuses("no densities"):
        fit_shared({}, {}, {}, SHORT, seed=0)
    with refuses("by time", "updates"):
        fit_shared(densities, pairs, pairs, SHORT.model_copy(update={"minutes": 1.0}), seed=0)
    nothing = Pairs(torch.zeros(0, *SHAPE, dtype=torch.uint8))
    with refuses("no pairs", "9 to train, 0 held out at null"):
        fit_shared(densities, pairs, {**pairs, "null": nothing}, SHORT, seed=0)
