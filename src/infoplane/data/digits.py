"""scikit-learn's handwritten digits: small, real, and on every machine."""

import numpy as np

from infoplane.data.dataset import Dataset


def load_digits() -> Dataset:
    """Returns the 1,797 digits: 8×8, 17 levels (0 to 16), 10 classes.

    Each pixel counts the set pixels of a 4×4 block of a 32×32 bitmap, hence 17 levels.

    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998 (its test set).
    """
    from sklearn.datasets import load_digits as read  # slow to import, so only when asked for

    pixels, labels = read(return_X_y=True)
    images = np.asarray(pixels, dtype=np.uint8).reshape(-1, 1, 8, 8)
    return Dataset("digits", images, np.asarray(labels), levels=17, classes=10)
