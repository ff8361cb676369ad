"""A generator of images whose probabilities, and hence whose information, are known exactly.

Definition, fixed for good. Images are 8×8 with one channel and 4 levels, made in four steps:

1. one of K = 4 binary templates, uniformly. They were drawn once, as
   `numpy.random.default_rng(0).integers(0, 2, (4, 8, 8))`: each pixel 0 or 1 with probability 1/2;
2. one of 4 circular shifts, uniformly and independently: by 0, 2, 4 or 6 pixels to the right along the width, as
   `numpy.roll(template, shift, axis=-1)`;
3. template pixel 1 becomes level 3, pixel 0 becomes level 0;
4. each pixel is independently, with probability r (the noise), replaced by one of the 4 levels, drawn uniformly; it
   may be the same one.

So p(x) is a mixture of 16 products of independent pixels. A pixel keeps its level with probability 1 − r + r/4 and
takes each other level with probability r/4; hence, where m of the 64 pixels agree with a component,

    log p(x | template, shift) = m log(1 − r + r/4) + (64 − m) log(r/4).
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

import numpy as np

from infoplane.checks import as_numpy, check_whole
from infoplane.data.dataset import Dataset
from infoplane.data.space import Images
from infoplane.errors import UsageError, unknown
from infoplane.estimate import Estimate

Latent = Literal["template", "shift"]

#: from images and the values of their latents to one number per image
Terms = Callable[[np.ndarray, dict[str, np.ndarray]], np.ndarray]

LEVELS = 4
SHIFTS = (0, 2, 4, 6)

# The draw of step 1, row by row, one bit per pixel: written down because numpy may change its random streams.
_TEMPLATE_BITS = ("e07ff66e5007677e", "bc36ce9314cabaab", "bb2f10dcc51f1f97", "350d99b6c5c68d84")

# Images per block of work: bounds the memory of any call to a few megabytes beside its input and output.
_CHUNK = 8192


class Truth:
    """The generator with known information.

    `log_prob(x)` is log p(x) and so on, all in nats and exact up to float64 rounding: the sums over templates and
    shifts are carried out, not sampled. Only expectations over x are Monte Carlo means, and come with their errors.

    Args:
        noise: Probability r, in (0, 1], that a pixel is replaced. At the default .2 the template and the shift can
            be read from almost every image (I = H = ln 4); at .7 they cannot.

    Raises:
        UsageError: If `noise` is not in (0, 1].

    Examples:
        >>> Truth(noise=1).log_prob(np.zeros((1, 1, 8, 8), np.uint8)).round(2)  # nothing but noise: −64 log 4
        array([-88.72])
    """

    def __init__(self, noise: float = 0.2, *, _templates: np.ndarray | None = None) -> None:
        numeric = isinstance(noise, int | float | np.number) and not isinstance(noise, bool)
        if not numeric or not 0 < noise <= 1:
            raise UsageError("noise of the generator cannot be used", received=repr(noise), legal="0 < noise <= 1")
        self.noise = float(noise)
        # Other templates (K, H, W) are for tests only: of images small enough to enumerate.
        self.templates = _default_templates() if _templates is None else np.asarray(_templates, dtype=np.uint8)

    def sample(self, n: int, seed: int) -> Dataset:
        """Returns n independent images as a data set called "truth", with 4 levels.

        Labels are the templates' numbers; `latents` holds the one-hot arrays `template` and `shift`, float32
        `(n, 4)`.

        Args:
            n: Number of images, 2 or more.
            seed: 0 or more; the same seed gives the same images.
        """
        draws = list(self._draw(check_whole("number of images", n, least=2), seed))
        images, template, shift = (np.concatenate(arrays) for arrays in zip(*draws))
        latents = {"template": _one_hot(template, len(self.templates)), "shift": _one_hot(shift, len(SHIFTS))}
        return Dataset("truth", images, template, LEVELS, len(self.templates), latents)

    def log_prob(self, images: Any) -> np.ndarray:
        """Returns log p(x) of every image, float64 `(n,)`, in nats: a log-sum over all 16 components.

        Args:
            images: uint8 `(n, 1, 8, 8)`, values 0 to 3; numpy array or torch tensor. The same below.
        """
        return _log_mean(self.log_prob_under_each(images, "template"))

    def log_prob_given(self, images: Any, latent: Latent, values: Any) -> np.ndarray:
        """Returns log p(x | value) of every image under its own value of a latent, float64 `(n,)`, in nats.

        Args:
            images: uint8 `(n, 1, 8, 8)`.
            latent: "template" or "shift".
            values: Numbers `(n,)`, those of shifts 0 to 3, not their pixels; or one-hot rows `(n, 4)` as in `latents`.
        """
        under_each = self.log_prob_under_each(images, latent)
        return _take(under_each, _numbers(latent, values, under_each.shape))

    def log_prob_under_each(self, images: Any, latent: Latent) -> np.ndarray:
        """Returns log p(x | t) of every image under every value t of a latent, float64 `(n, 4)`, in nats.

        Column t holds a log-sum over the 4 components that share t. These are what the contrastive bound of the
        true density is made of.

        Args:
            images: uint8 `(n, 1, 8, 8)`.
            latent: "template" or "shift".
        """
        _check_latent_name(latent)
        images = Images.of((1, *self.templates.shape[1:]), LEVELS).check_array(images)
        summed_over = 2 if latent == "template" else 1
        blocks = (images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK))
        return np.concatenate([_log_mean(self._log_prob_joint(block), axis=summed_over) for block in blocks])

    def information(self, latent: Latent, draws: int = 100_000, seed: int = 0) -> Estimate:
        """Returns I(x; latent) = E[log p(x|t) − log p(x)], t being the latent's value that made x, in nats.

        A Monte Carlo mean of exact terms over fresh draws; its standard error is the terms' spread / √draws.

        Args:
            latent: "template" or "shift"; of both, H = ln 4 = 1.386 nats is the most there can be.
            draws: Number of images, 2 or more.
            seed: Of the draws.
        """
        _check_latent_name(latent)

        def terms(images: np.ndarray, values: dict[str, np.ndarray]) -> np.ndarray:
            under_each = self.log_prob_under_each(images, latent)
            return _take(under_each, values[latent]) - _log_mean(under_each)

        return self._mean("information", terms, draws, seed)

    def entropy(self, draws: int = 100_000, seed: int = 0) -> Estimate:
        """Returns the entropy H(x) = −E log p(x) in nats, a Monte Carlo mean over fresh draws."""
        return self._mean("entropy", lambda images, _: -self.log_prob(images), draws, seed)

    def conditional_entropy(self, latent: Latent, draws: int = 100_000, seed: int = 0) -> Estimate:
        """Returns H(x | latent) = −E log p(x|t) in nats, a Monte Carlo mean over fresh draws.

        With the same `draws` and `seed`, `entropy` less this is `information`, since the draws are the same.
        """
        _check_latent_name(latent)

        def terms(images: np.ndarray, values: dict[str, np.ndarray]) -> np.ndarray:
            return -self.log_prob_given(images, latent, values[latent])

        return self._mean("entropy", terms, draws, seed)

    def _log_prob_joint(self, images: np.ndarray) -> np.ndarray:
        """Returns log p(x | template, shift), float64 `(n, K, 4)`, from uint8 images `(n, 1, H, W)`."""
        components = np.stack([np.roll(self.templates, shift, axis=-1) for shift in SHIFTS], axis=1)
        ones = components.reshape(len(self.templates), len(SHIFTS), -1).astype(np.float32)
        flat = images.reshape(len(images), -1)
        # The table of a pixel's log-probabilities has but two values, so counting the pixels that agree with a
        # component is enough: levels 3 under ones, levels 0 under zeros. Sums of 0 and 1 are exact in float32.
        high, low = (flat == LEVELS - 1).astype(np.float32), (flat == 0).astype(np.float32)
        agree = np.tensordot(high, ones, (1, 2)) + np.tensordot(low, 1 - ones, (1, 2))
        agree = agree.astype(np.float64)
        kept, other = math.log1p(-self.noise * (1 - 1 / LEVELS)), math.log(self.noise / LEVELS)
        return agree * kept + (flat.shape[1] - agree) * other

    def _draw(self, n: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yields blocks of images `(b, 1, H, W)`, template and shift numbers `(b,)`, of n rows in all."""
        rng = np.random.default_rng(check_whole("seed", seed, least=0))
        for start in range(0, n, _CHUNK):
            count = min(_CHUNK, n - start)
            template = rng.integers(0, len(self.templates), count)
            shift = rng.integers(0, len(SHIFTS), count)
            shifted = np.stack([np.roll(self.templates, pixels, axis=-1) for pixels in SHIFTS])
            clean = shifted[shift, template] * np.uint8(LEVELS - 1)
            replaced = rng.random(clean.shape) < self.noise
            images = np.where(replaced, rng.integers(0, LEVELS, clean.shape, dtype=np.uint8), clean)
            yield images[:, None], template, shift

    def _mean(self, kind: str, terms: Terms, draws: int, seed: int) -> Estimate:
        """Returns the mean of `terms(images, {"template": …, "shift": …})` over fresh draws, with its error."""
        draws = check_whole("number of draws", draws, least=2)
        blocks = self._draw(draws, seed)
        values = np.concatenate(
            [terms(images, {"template": template, "shift": shift}) for images, template, shift in blocks]
        )
        stderr = float(values.std(ddof=1)) / math.sqrt(draws)
        return Estimate(
            float(values.mean()), stderr=stderr, kind=kind, bound="estimate", n=draws, refits=0, dof=draws - 1
        )


def load_truth(noise: float = 0.2, n: int = 10_000, seed: int = 0) -> Dataset:
    """Returns `Truth(noise).sample(n, seed)`, the form in which studies name the generator."""
    return Truth(noise).sample(n, seed)


def _default_templates() -> np.ndarray:
    """Returns the fixed templates, uint8 0/1 `(4, 8, 8)`."""
    packed = np.frombuffer(bytes.fromhex("".join(_TEMPLATE_BITS)), dtype=np.uint8)
    return np.unpackbits(packed).reshape(len(_TEMPLATE_BITS), 8, 8)


def _log_mean(log_probs: np.ndarray, axis: int = 1) -> np.ndarray:
    """Returns log of the mean of exp(log_probs) along an axis: mixing equally likely components."""
    return np.logaddexp.reduce(log_probs, axis=axis) - math.log(log_probs.shape[axis])


def _take(under_each: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns, of each row, the entry in the column that `values` names."""
    return np.take_along_axis(under_each, values[:, None], axis=1)[:, 0]


def _one_hot(values: np.ndarray, count: int) -> np.ndarray:
    """Returns one-hot rows, float32 `(n, count)`."""
    return np.eye(count, dtype=np.float32)[values]


def _check_latent_name(latent: str) -> None:
    """Raises `UsageError` for a latent that the generator does not have."""
    if not isinstance(latent, str) or latent not in get_args(Latent):
        raise unknown("latent of the truth generator", f"{latent!s:.60}", get_args(Latent))


def _numbers(latent: Latent, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Returns latent values as numbers `(n,)`, from numbers or one-hot rows; `shape` is `(n, count)`."""
    array = as_numpy(values, what=f"{latent} values")
    n, count = shape
    if array.shape == shape and np.isin(array, (0, 1)).all() and (array.sum(axis=1) == 1).all():
        return array.argmax(axis=1)
    if array.shape == (n,) and array.dtype.kind in "iu" and array.min() >= 0 and array.max() < count:
        return array.astype(np.int64)
    raise UsageError(
        f"{latent} values cannot be used",
        received=f"{array.dtype} of shape {array.shape}",
        legal=f"whole numbers 0 to {count - 1} of shape ({n},), or one-hot rows ({n}, {count})",
    )
