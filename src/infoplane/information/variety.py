"""How much the images differ that a density draws for one activation, or from nothing.

The variability of samples is what Nash et al. 2019 (section 5) and Darlow & Storkey 2018 (section 6) look at; they give
no number. This one is the variance of a pixel on the scale 0 … 1, averaged over pixels, as the error of a
reconstruction is: where q is the true density, no reconstruction from h can have a smaller one. It is unbiased
whatever the number of samples, but it is q's; of the true density it says nothing.
"""

import numpy as np

from infoplane.checks import as_numpy
from infoplane.data.space import check_levels, check_range
from infoplane.errors import UsageError
from infoplane.estimate import Estimate
from infoplane.information.crossed import count, crossed_mean


def variances(samples: np.ndarray, levels: int) -> np.ndarray:
    """Returns the variance among the samples of each image, (P,).

    Args:
        samples: Grey values (P, S, …): S samples for each of P images.
        levels: Number of values of a pixel.

    Raises:
        UsageError: There are fewer than two samples of an image, or they are no grey values of so many levels.
    """
    samples, levels = _grey_values(samples), check_levels(levels)
    images, each = samples.shape[:2]
    check_range(samples, levels, "samples hold other levels")
    return (samples.reshape(images, each, -1) / (levels - 1)).var(axis=1, ddof=1).mean(1)


def _grey_values(samples: np.ndarray, least: int = 3) -> np.ndarray:
    """Samples as an array of whole numbers with at least so many axes, or UsageError."""
    array = as_numpy(samples, what="samples")
    if array.ndim >= least and array.shape[least - 2] < 2:
        each = array.shape[least - 2]
        raise UsageError("too few samples to see how they vary", received=each, legal="2 or more of each image")
    if array.dtype.kind not in "iu" or array.ndim < least or not array.size:
        axes = ("P", "S", "…")[3 - least :]
        raise UsageError(
            "samples are no grey values",
            received=f"{array.dtype} of shape {array.shape}",
            legal=f"whole numbers ({', '.join(axes)})",
        )
    return array


def sample_variance(samples: np.ndarray, levels: int, *, groups: np.ndarray | None = None) -> Estimate:
    """Returns the mean of `variances` (P, S, …), in squared error; its standard error is over two or more images.

    Where images belong together, `groups` (P,), it is over groups, and groups are what is counted.
    """
    found = variances(samples, levels)
    mean, n = crossed_mean(found, groups=groups), count(found, groups)
    return Estimate(mean.value, mean.stderr if n > 1 else None, "squared error", "sample-variance", n=n, dof=mean.dof)


def whole_variance(samples: np.ndarray, levels: int) -> Estimate:
    """Returns the variance among samples (S, …) of p(x), in squared error; its standard error is over them.

    That is the jackknife's, for which there must be three; it errs high (Efron and Stein 1981), by a quarter of its
    size with six samples and by 2 % with thirty that are spread evenly.
    """
    samples = _grey_values(samples, 2)
    count = len(samples)
    value = float(variances(samples[None], levels)[0])
    stderr = None
    if count > 2:
        without = [variances(np.delete(samples, index, 0)[None], levels)[0] for index in range(count)]
        stderr = float(np.sqrt((count - 1) * np.var(without)))
    return Estimate(value, stderr, "squared error", "sample-variance", n=count, dof=max(count - 1, 1))
