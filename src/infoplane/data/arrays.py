"""Arrays that numpy wrote: `.npz` with images and labels, `.npy` with images alone."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from infoplane.checks import check_labels, check_whole
from infoplane.data.dataset import Dataset, check_images
from infoplane.errors import UsageError

#: What the arrays may be called in a `.npz`, the preferred name first.
IMAGE_KEYS = ("images", "x", "X")
LABEL_KEYS = ("labels", "y", "Y")


def load_arrays(path: str | os.PathLike[str], *, levels: int | None = None) -> Dataset:
    """Returns the data set in a `.npz` or `.npy` file, named after the file.

    A `.npz` holds the images as `images`, `x` or `X`, and optionally their labels as `labels`, `y` or `Y` and the
    number of `levels` (a whole number); further arrays are ignored. A `.npy` holds images alone. Images are uint8
    of shape

    * `(N, C, H, W)`;
    * `(N, H, W)`, which becomes `(N, 1, H, W)`;
    * `(N, H, W, 3)` or `(N, H, W, 1)`, which becomes `(N, C, H, W)` unless it could be channels-first as it is
      (a second dimension of 1 or 3); a line on standard error says so.

    Pickled objects are never loaded.

    Args:
        path: The file.
        levels: Number of values a pixel can take; goes before what the file says; 256 where neither says.

    Raises:
        UsageError: If the file is missing or unreadable, or its arrays do not make a data set.
    """
    path = Path(path)
    arrays = _read(path)
    stored = _pick(arrays, IMAGE_KEYS)
    images = _channels_first(stored)
    if images is not None and stored is not None and images.ndim == stored.ndim and images.shape != stored.shape:
        shape = "×".join(map(str, images.shape[1:]))
        print(f"images in {path} are taken as channels-last, (N, H, W, C): {shape} each from here on", file=sys.stderr)
    labels = _pick(arrays, LABEL_KEYS)
    if images is None:
        raise UsageError(
            f"no images in {path}",
            received=f"arrays {', '.join(arrays) or '(none)'}",
            legal=f"images under {' or '.join(IMAGE_KEYS)}, labels under {' or '.join(LABEL_KEYS)}",
        )
    if levels is None:
        levels = _levels(path, arrays.get("levels"))
    # Checked here as well as by the Dataset, so that the message names the file.
    images = check_images(images, levels, what=f"images in {path}")
    if labels is not None:
        labels = check_labels(labels, len(images), what=f"labels in {path}")
    return Dataset(path.stem, images, labels, levels=levels)


def _read(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays that a data set can be made of, by name; a `.npy`'s only one is called `images`."""
    try:
        # Opened here because numpy leaves a file that it cannot make sense of open.
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return {"images": content}
            wanted = (*IMAGE_KEYS, *LABEL_KEYS, "levels")
            with content:
                # Others are listed, for the error message, but not read.
                return {key: np.asarray(content[key]) if key in wanted else np.empty(0) for key in content.files}
    except FileNotFoundError as error:
        raise UsageError("no such file", received=path, legal="an existing .npz or .npy file") from error
    except Exception as error:  # on corrupt files numpy raises almost anything, a tokenizer's errors included
        raise UsageError(
            f"cannot read {path}",
            received=f"{type(error).__name__}: {error}",
            legal="a .npz or .npy file without pickled objects",
            mend="write it again with numpy.savez_compressed(path, images=…, labels=…)",
        ) from error


def _pick(arrays: Mapping[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray | None:
    """Returns the array under the first of `names` that is there."""
    return next((arrays[name] for name in names if name in arrays), None)


def _channels_first(images: np.ndarray | None) -> np.ndarray | None:
    """Returns images as `(N, C, H, W)` where their shape leaves no doubt, else as they are."""
    if images is None or images.ndim not in (3, 4):
        return images
    if images.ndim == 3:
        return images[:, None]
    if images.shape[3] in (1, 3) and images.shape[1] not in (1, 3):
        return images.transpose(0, 3, 1, 2)
    return images


def _levels(path: Path, stored: np.ndarray | None) -> int:
    """Returns the number of levels that the file states, or 256."""
    if stored is None:
        return 256
    value = stored.item() if stored.size == 1 else stored
    return check_whole(f"levels in {path}", value, least=2, most=256)
