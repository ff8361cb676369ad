"""Images that are made, and the inputs of a problem."""

import numpy as np

from infoplane.data import Dataset
from infoplane.subjects import Points


def stripes(*, n: int = 160, noise: float = 0.2) -> Dataset:
    """Returns images of 4×4 pixels with 3 levels whose rows or columns, by their label, are striped."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    striped = np.broadcast_to(2 * (np.arange(4)[:, None] % 2), (4, 4))
    images = np.stack([striped.T if label else striped for label in labels])[:, None].astype(np.uint8)
    replaced = rng.random(images.shape) < noise
    return Dataset("stripes", np.where(replaced, rng.integers(0, 3, images.shape, np.uint8), images), labels, levels=3)


def line(seed: int = 0) -> Points:
    """Returns four points on a line, in two classes."""
    inputs, labels = np.arange(4.0)[:, None], np.array([0, 0, 1, 1])
    return Points("line", inputs, labels, np.array([-1.0, 1.0]), np.arange(4), np.arange(0))
