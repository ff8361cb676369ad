"""How much the images differ that a density draws for one activation."""

import numpy as np

from infoplane.errors import UsageError
from infoplane.estimate import Estimate
from infoplane.information.crossed import crossed_mean


def sample_variance(samples: np.ndarray, levels: int) -> Estimate:
    """Returns the variance of a pixel over the samples of one image, averaged over pixels and images.

    On the scale 0 … 1 squared, as the error of a reconstruction is: where q is the true density, this is the least
    squared error that any reconstruction from h can have. It is unbiased whatever the number of samples, but it is q's:
    of the true density it says nothing.

    Args:
        samples: Grey values (P, S, …): S samples for each of P images. One image's are those of p(x), say; its error is
            over samples then.
        levels: Number of values of a pixel.

    Raises:
        UsageError: There are fewer than two samples of an image.

    Source: the variability of samples is what Nash et al. 2019 (section 5.3) and Darlow & Storkey 2018 (section 6) look
    at; they give no number.
    """
    images, each = samples.shape[:2]
    if each < 2:
        raise UsageError("too few samples to see how they vary", received=each, legal="2 or more of each image")
    drawn = samples.reshape(images, each, -1).astype(np.float64) / (levels - 1)
    squared = np.square(drawn - drawn.mean(1, keepdims=True)).mean(2) * each / (each - 1)
    terms = squared.mean(1) if images > 1 else squared[0]
    mean = crossed_mean(terms)
    return Estimate(mean.value, mean.stderr, "squared error", "sample-variance", n=len(terms))
