"""What every registered density keeps to: an entry of the registry brings these tests."""

import dataclasses
from typing import Any

import call_goods as goods
import pytest
import torch
from call_inputs import faults

from composed import CONTEXTS, FORMS, PARTS, TRUNKS, contexts_of, names, randomise
from infoplane import densities
from infoplane.measurements.candidates import CANDIDATES
from plugin_site import visible
from tiny_densities import LIKELIHOODS, every_image, number_of, random_images

NOISE, REAL = 1e-12, 1e-9
SPACES = [((1, 2, 2), 4), ((3, 2, 2), 2), ((1, 1, 2), 17)]
THIN = [((1, 3, 1), 3), ((1, 1, 5), 3), ((2, 3, 1), 3), ((1, 1, 1), 256)]


@dataclasses.dataclass(frozen=True)
class Variant:
    """A density with options that make it small.

    Attributes:
        scale: Standard deviation of the parameters that it is given.
        sees: Whether a pixel depends on its left neighbour.
    """

    kind: str
    name: str = ""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    scale: float = 0.5
    sees: bool = False

    def built(self, shape, levels, context=None, *, seed=0) -> densities.Density:
        """As it is begun, in evaluation mode."""
        return densities.build(self.kind, shape, levels, context, self.options, seed=seed).eval()

    def made(self, shape, levels, context=None, *, seed=0) -> densities.Density:
        """With random parameters throughout, float64."""
        return randomise(self.built(shape, levels, context, seed=seed).double(), self.scale, seed=seed)


def _of_pixelcnn():
    small = {"filters": 4, "residual_layers": 1, "scales": 2, "mixtures": 3}
    for likelihood in LIKELIHOODS:
        yield f"{likelihood}", {**small, "likelihood": likelihood}, 0.5
    yield "plain", {**small, "weight_norm": False}, 0.3
    yield "learned", {**small, "conditioning": "learned", "scales": 3}, 0.5
    yield "vector", {**small, "conditioning": "vector", "scales": 1, "residual_layers": 2}, 0.5


def _of_parts():
    small = {"width": 16, "depth": 1, "heads": 2, "filters": 4, "residual_layers": 1, "scales": 2, "hidden": 4}
    small |= {"mixtures": 3, "far": [2], "whole": True, "up": 2, "side": 2}
    for parts in PARTS:
        chosen = {**small, **dict(zip(("base", "trunk", "head"), parts, strict=True))}
        for form in FORMS if parts[::2] == ("none", "softmax") else FORMS[-1:]:
            yield f"{names(parts)} {form}", {**chosen, "form": form}, 0.5
        yield f"{names(parts)} plain", {**chosen, "form": "both", "whole": False, "weight_norm": False}, 0.15
    for name, make in CANDIDATES.items():  # what the data choose among
        yield name, {key: value for key, value in make((1, 8, 8), 2).density.items() if key != "kind"}, 0.05


#: kind -> name, options and scale of its variants; any other kind is taken as it is
VARIANTS = {"pixelcnn": _of_pixelcnn, "autoregressive": _of_parts}


def variants():
    with visible():
        for kind in (name for name, _ in densities.REGISTRY.items()):
            for name, options, scale in VARIANTS.get(kind, lambda: [("", {}, 0.5)])():
                yield Variant(kind, name, options, scale, sees=kind in VARIANTS)


def over(found):
    """Tests of these variants."""
    named = [pytest.param(each, id=f"{each.kind} {each.name}".strip()) for each in found]
    return pytest.mark.parametrize("variant", named)


ALL = [*variants()]
EVERY = over(ALL)
#: without those whose weights are plain, which are drawn alike
WEIGHTED = over(each for each in ALL if not each.name.endswith("plain"))
#: one of each trunk, and any other kind, where what is tried is the same whatever the rest
SOME = over(each for each in ALL if each.name in ("", "categorical", *(f"none {each} softmax both" for each in TRUNKS)))
IN_EVERY_CONTEXT = pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS)


def expanded(h, n):
    return None if h is None else h.expand(n, *h.shape[1:])


@torch.no_grad()
def probabilities(density, h=None):
    """Of every image of its space, under a context (1, …) or none."""
    images = every_image(density.shape, density.levels)
    return density.log_prob(images, expanded(h, len(images))).exp()


@EVERY
@IN_EVERY_CONTEXT
def test_probabilities_of_all_images_sum_to_one(variant, context):
    for shape, levels in SPACES if context else (*SPACES, *THIN):
        density = variant.made(shape, levels, context)
        found = probabilities(density, contexts_of(density, 1))
        assert float(found.sum()) == pytest.approx(1, abs=1e-10)
        assert found.max() > 1.02 * found.min()  # the test is no test where q is uniform
        begun = variant.built(shape, levels, context).double()
        begun.initialise(random_images(shape, levels, 32))
        assert float(probabilities(begun, contexts_of(begun, 1)).sum()) == pytest.approx(1, abs=1e-10)


@EVERY
@IN_EVERY_CONTEXT
@torch.no_grad()
def test_no_pixel_changes_anything_before_it(variant, context):
    shape, levels = (3, 5, 6), 5
    density = variant.made(shape, levels, context)
    image = random_images(shape, levels, 1)
    copies = image.repeat(1 + image.numel(), 1, 1, 1)
    flat, every = copies[1:].view(image.numel(), -1), torch.arange(image.numel())
    flat[every, every] = (flat[every, every] + 1 + every % (levels - 1)).remainder(levels).to(flat.dtype)
    pixels = density.log_prob_map(copies, expanded(contexts_of(density, 1), len(copies))).flatten(1)
    change, place = (pixels[1:] - pixels[:1]).abs(), every % 30
    assert change[torch.arange(30) < place[:, None]].max() < NOISE
    assert change[every, place].min() > REAL
    following = place % 6 < 5
    seen = change[every[following], place[following] + 1]
    assert seen.min() > REAL if variant.sees else seen.max() < NOISE


@EVERY
@torch.no_grad()
def test_under_a_null_context_it_is_its_twin(variant):
    shape, levels = (3, 4, 3), 5
    images = random_images(shape, levels, 6)
    for context in (each for each in CONTEXTS.values() if each is not None):
        plain, density = variant.built(shape, levels), variant.built(shape, levels, context)
        own = dict(density.named_parameters())
        assert all(torch.equal(p, own[name]) for name, p in plain.named_parameters())
        plain.initialise(images)
        density.initialise(images)
        expected, h = plain.log_prob(images), contexts_of(density, 6).float()
        assert torch.equal(density.log_prob(images, torch.zeros_like(h)), expected)
        assert set(density.state_dict()) - set(plain.state_dict()) == density.context_state()
        shaken = randomise(density.double(), variant.scale)
        shaken.load_state_dict({key: value.double() for key, value in plain.state_dict().items()}, strict=False)
        assert not torch.allclose(shaken.log_prob(images, h.double()), plain.double().log_prob(images), atol=1e-3)
        shaken.silence_context()
        torch.testing.assert_close(shaken.log_prob(images, h.double()), plain.log_prob(images), atol=1e-10, rtol=0)


@SOME
@torch.no_grad()
def test_what_is_scored_with_it_and_as_what_type_makes_no_difference(variant):
    shape, levels = (2, 3, 4), 4
    density = variant.made(shape, levels, (5,))
    images, h = random_images(shape, levels, 5), contexts_of(density, 5)
    whole, pixels = density.log_prob(images, h), density.log_prob_map(images, h)
    assert (whole.shape, whole.dtype, pixels.shape) == ((5,), torch.float64, (5, 3, 4))
    torch.testing.assert_close(whole, pixels.sum((1, 2)), rtol=1e-14, atol=0)
    single = torch.cat([density.log_prob(images[i : i + 1], h[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(single, whole, atol=1e-11, rtol=0)
    assert torch.equal(density.log_prob(images.flip(0), h.flip(0)).flip(0), whole) or torch.allclose(
        density.log_prob(images.flip(0), h.flip(0)).flip(0), whole, atol=1e-11
    )
    for dtype in (torch.int8, torch.int16, torch.int64):
        assert torch.equal(density.log_prob(images.to(dtype), h), whole)


@EVERY
def test_samples_come_as_often_as_they_are_likely(variant):
    """20,000 images of a space of 256 for two contexts in turn: the largest of 2 × 256 standard scores is below 4.7 in
    all but .2 % of seeds; held against the other context's probabilities it is not, where these differ."""
    shape, levels, n = (1, 2, 2), 4, 20_000
    density = variant.made(shape, levels, (5,))
    two = contexts_of(density, 2)
    rows = torch.arange(n) % 2  # interleaved, so that a mix-up of rows is seen
    images = density.sample(two[rows], generator=torch.Generator().manual_seed(0))
    likely = [probabilities(density, two[k : k + 1]) for k in range(2)]
    for k in range(2):
        counts = torch.bincount(number_of(images[rows == k], levels), minlength=levels**4).double()
        own, other = (
            float(((counts - n / 2 * each) / (n / 2 * each + 1).sqrt()).abs().max())
            for each in (likely[k], likely[1 - k])
        )
        assert own < 4.7
        assert other > 4.7 or (likely[0] - likely[1]).abs().sum() < 0.3


@SOME
def test_drawing(variant):
    shape, levels = (2, 3, 4), 5
    plain, density = variant.built(shape, levels), variant.made(shape, levels, (5,))
    assert plain.sample().shape == (1, *shape)
    assert plain.sample(n=0).shape == (0, *shape)
    h, state = contexts_of(density, 6), torch.get_rng_state()
    assert density.sample(h[:0]).shape == (0, *shape)
    assert density.sample(h[:1], n=3, generator=torch.Generator()).shape == (3, *shape)

    def drawn(seed=1, **options):
        return density.sample(h, generator=torch.Generator().manual_seed(seed), **options)

    first, told = drawn(), []
    assert (first.shape, first.dtype) == ((6, *shape), torch.uint8)
    assert int(first.max()) < levels
    assert torch.equal(drawn(progress=lambda *said: told.append(said)), first)
    assert told[-1] == (12, 12)
    assert not torch.equal(drawn(seed=2), first)
    assert torch.equal(torch.get_rng_state(), state)  # the caller's
    density.train()
    assert torch.equal(drawn(), first)  # whatever is random in training is off
    assert all(module.training for module in density.modules())
    assert all(p.requires_grad and p.grad is None for p in density.parameters())
    torch.manual_seed(4)
    free = density.sample(h)
    torch.manual_seed(4)
    assert torch.equal(density.sample(h), free)


@WEIGHTED
@IN_EVERY_CONTEXT
def test_samples_are_those_that_the_whole_image_gives(variant, context):
    """Cached or not, the same numbers make the same images, and so they do where the first rows are given."""
    shape, levels = (3, 4, 5), 7
    density = variant.made(shape, levels, context)
    h, kept = contexts_of(density, 6), random_images(shape, levels, 6)[:, :, :2]
    for options in ({}, {"temperature": 0.5}, {"keep": kept}):
        cached, anew = (
            density.sample(h, n=6, generator=torch.Generator().manual_seed(5), cached=cached, **options)
            for cached in (True, False)
        )
        assert torch.equal(cached, anew)
    assert torch.equal(cached[:, :, :2], kept)


@EVERY
def test_a_null_context_trains_like_the_twin(variant):
    """The same dropout masks and the same gradients: that is what makes the twin a twin."""
    shape, levels = (1, 5, 6), 4
    images = random_images(shape, levels, 6)
    plain, density = variant.built(shape, levels).train(), variant.built(shape, levels, (7,)).train()
    gradients = []
    for network, context in ((plain, None), (density, torch.zeros(6, 7))):
        torch.manual_seed(5)
        network.training_loss(images, context).sum().backward()
        gradients.append({name: p.grad for name, p in network.named_parameters()})
    for name, value in gradients[0].items():
        assert value is None or torch.equal(gradients[1][name], value)
    # And nothing can be learned from a context of zeros by what h itself enters through.
    assert list(density.context_parameters())
    assert not list(plain.context_parameters())


@SOME
def test_saved_and_loaded_it_is_the_same(variant, tmp_path):
    shape, levels = (3, 4, 3), 5
    density = variant.made(shape, levels, (2, 2, 3))
    torch.save(density.state_dict(), tmp_path / "weights.pt")
    other = variant.made(shape, levels, (2, 2, 3), seed=5)
    other.load_state_dict(torch.load(tmp_path / "weights.pt"))
    images, h = random_images(shape, levels, 5), contexts_of(density, 5)
    with torch.no_grad():
        assert torch.equal(density.log_prob(images, h), other.log_prob(images, h))


@EVERY
def test_a_seed_decides_its_beginning_and_each_parameter_is_trained(variant):
    shape, levels = (3, 4, 3), 5
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, again, other = (variant.built(shape, levels, (5,), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    found = [torch.cat([p.detach().flatten() for p in density.parameters()]) for density in (first, again, other)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    images = random_images(shape, levels, 8)
    density = variant.made(shape, levels, (5,)).train()
    loss = density.training_loss(images, contexts_of(density, 8))
    assert loss.shape == (8,)
    loss.sum().backward()
    still = [name for name, p in density.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not still
    ours = {id(p) for p in density.context_parameters()}
    assert {id(p) for each, _ in density.context_rates(None) for p in each} == ours
    shapeless = densities.build(variant.kind, shape, levels, (5,), variant.options, device="meta")
    empty = torch.zeros(4, *shape, dtype=torch.uint8, device="meta")
    assert shapeless.log_prob(empty, torch.zeros(4, 5, device="meta")).shape == (4,)


@SOME
def test_what_does_not_fit_is_refused_in_one_line(variant, refuses):
    shape, levels = (1, 3, 4), 5
    plain, vector, spatial = (variant.built(shape, levels, context) for context in (None, (6,), (2, 3, 3)))
    good = random_images(shape, levels, 2)
    for call in (plain.log_prob, plain.initialise):
        with refuses("images", "float32 (2, 1, 3, 4)", "integer levels (B, 1, 3, 4)"):
            call(good.float())
        with refuses("images", "(2, 1, 4, 3)", "(B, 1, 3, 4)"):
            call(good.transpose(2, 3))
        with refuses("images", "(1, 3, 4)"):
            call(good[0])
        with refuses("levels", "0 … 5", "0 … 4"):
            call(torch.full_like(good, 5).index_fill_(2, torch.tensor([0]), 0))
        with refuses("levels", "-1", "0 … 4"):
            call(torch.full_like(good, -1, dtype=torch.int16))
    for call in (lambda h: plain.log_prob(good, h), plain.sample):
        with refuses("unconditional", "(2, 6)"):
            call(torch.zeros(2, 6))
    for call in (lambda h=None: vector.log_prob(good, h), lambda h=None: vector.sample(h, n=2)):
        with refuses("context", "none", "(B, 6)"):
            call()
        with refuses("context", "(2, 5)", "(B, 6)"):
            call(torch.zeros(2, 5))
        with refuses("not finite", "1 of 12"):
            call(
                torch.zeros(2, 6)
                .index_fill_(1, torch.tensor([0]), 0)
                .index_put_((torch.tensor([1]),) * 2, torch.tensor(float("nan")))
            )
    with refuses("context", "(2, 6)", "(B, 2, 3, 3)"):
        spatial.log_prob(good, torch.zeros(2, 6))
    with refuses("length", "2 and 3"):
        vector.log_prob(good, torch.zeros(3, 6))
    with refuses("n differs", "3 and 2"):
        vector.sample(torch.zeros(2, 6), n=3)
    with refuses("bad number of samples", "-1", "0 or more"):
        plain.sample(n=-1)
    rows = good[:, :, :2]
    for keep in (rows[:, :, :, :3], rows.expand(2, 3, 2, 4), rows.float(), rows[0], rows[[0, 1, 0]]):
        with refuses("rows to keep do not fit", "(2 or 1, 1, 0 to 3, 4)"):
            plain.sample(n=2, keep=keep)
    with refuses("keep cannot be used", "ndarray"):
        plain.sample(n=2, keep=rows.numpy())
    with refuses("rows to keep hold other levels", "0 … 7", "0 … 4"):
        plain.sample(n=2, keep=torch.arange(16).view(2, 1, 2, 4) % 8)
    for temperature in (0.0, -1.0, float("inf"), float("nan"), True, "hot"):
        with refuses("temperature cannot be used", str(temperature), "a number above 0"):
            plain.sample(n=2, temperature=temperature)


@SOME
def test_whatever_else_is_passed_is_refused_in_one_line(variant):
    """Of every kind of argument what nobody should give it: see `call_inputs`."""
    density = variant.built(goods.SHAPE, goods.LEVELS, (5,))
    scored = goods.given(
        density.log_prob,
        {"images": goods.IMAGES, "context": goods.CONTEXT},
        images=goods.images,
        context=goods.context,
        spared=[("images", "nothing")],
    )
    drawn = goods.given(
        lambda **how: density.sample(generator=torch.Generator().manual_seed(0), **how),
        {"context": goods.CONTEXT, "n": "whole", "temperature": "positive"},
        context=lambda: goods.context()[:3],
        n=goods.always(3),
        temperature=goods.always(1.0),
        spared=[("n", "none"), ("n", "numpy's")],
    )
    assert not [*faults(scored), *faults(drawn)]


@pytest.mark.parametrize("kind", sorted({each.kind for each in variants()}))
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"shape": (3, 4)}, ("shape cannot be used", "(3, 4)", "a list of 3")),
        ({"shape": (1, 0, 4)}, ("image shape", "(1, 0, 4)")),
        ({"levels": 1}, ("levels", "1", "from 2 to 256")),
        ({"levels": 257}, ("levels", "257", "from 2 to 256")),
        ({"context": (2, 3)}, ("context", "(2, 3)")),
        ({"context": (0,)}, ("context", "(0,)")),
        ({"options": {"no_such_option": 1}}, ("no_such_option", "unknown key")),
    ],
)
def test_arguments_that_make_no_sense(kind, arguments, words, refuses):
    with refuses(*words):
        densities.build(kind, **{"shape": (1, 4, 4), "levels": 4, "context": None, "options": {}} | arguments)
