"""Arrays that numpy wrote: `.npz` with images and labels, `.npy` with images alone."""

import math
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from infoplane.checks import check_labels
from infoplane.data.archive import check_total
from infoplane.data.dataset import Dataset, check_groups
from infoplane.data.files import MOST_BYTES, check_regular, corrupt
from infoplane.data.space import CHANNELS, MOST_LEVELS, check_images, check_levels
from infoplane.errors import UsageError, unknown

#: What the arrays may be called in a `.npz`, the preferred name first.
IMAGE_KEYS = ("images", "x", "X")
LABEL_KEYS = ("labels", "y", "Y")
GROUP_KEY, LEVELS_KEY = "groups", "levels"

FIRST, LAST = "first", "last"


def load_arrays(
    path: str | os.PathLike[str], *, levels: int | None = None, channels: str | None = None, groups: str | None = None
) -> Dataset:
    """Returns the data set in a `.npz` or `.npy` file, named after the file.

    A `.npz` holds the images as `images`, `x` or `X`, and optionally their labels as `labels`, `y` or `Y`, the number
    of `levels` (a whole number), and `groups` of images that must not be parted; further arrays are ignored, and named
    in the data set's notes. A `.npy` holds images alone. Images are uint8 of shape

    * `(N, C, H, W)`;
    * `(N, H, W)`, which becomes `(N, 1, H, W)`;
    * `(N, H, W, C)`, which becomes `(N, C, H, W)` where the shape leaves no doubt, and is noted.

    An image has 1 to 4 channels: a single axis of that size, first or last, is that of the channels. Where no axis or
    both have such a size, two equal axes side by side are height and width. Everything else is refused unless
    `channels` says which axis it is.

    Pickled objects are never loaded.

    Args:
        path: The file.
        levels: Number of values a pixel can take; goes before what the file says; 256 where neither says.
        channels: "first" or "last": where the channels' axis is; None to go by the shape.
        groups: Name of the array that says which images must not be parted; None for `groups` where that is there.

    Raises:
        UsageError: If the file is missing or unreadable, its arrays do not make a data set, or their shape can be
            understood in two ways.
    """
    path = Path(path)
    if channels not in (None, FIRST, LAST):
        raise unknown("place of the channels", str(channels), (FIRST, LAST))
    wanted = (*IMAGE_KEYS, *LABEL_KEYS, LEVELS_KEY, GROUP_KEY if groups is None else groups)
    arrays, names = _read(path, wanted)
    images_key, labels_key = _first(arrays, IMAGE_KEYS), _first(arrays, LABEL_KEYS)
    if images_key is None:
        raise UsageError(
            f"no images in {path}",
            received=f"arrays {', '.join(names) or '(none)'}",
            legal=f"images under {' or '.join(IMAGE_KEYS)}, labels under {' or '.join(LABEL_KEYS)}",
        )
    if groups is not None and groups not in arrays:
        raise unknown(f"array of groups in {path}", groups, names)
    if levels is None:
        said = arrays.get(LEVELS_KEY, np.array(MOST_LEVELS))
        levels = check_levels(said.item() if said.size == 1 else said, what=f"levels in {path}")
    stored, notes = arrays[images_key], []
    images = _channels_first(path, stored, channels)
    if stored.ndim == 4 and images is not stored and images.shape != stored.shape:
        shape = "×".join(map(str, images.shape[1:]))
        notes.append(f"images in {path.name} were taken as channels-last, (N, H, W, C): {shape} each from here on")
    # Checked here as well as by the Dataset, so that the message names the file.
    images = check_images(images, levels, what=f"images in {path}")
    labels = None if labels_key is None else check_labels(arrays[labels_key], len(images), what=f"labels in {path}")
    named = groups or GROUP_KEY
    of = None if named not in arrays else check_groups(arrays[named], len(images), str(path))
    used = {images_key, labels_key, LEVELS_KEY, named}
    if unused := [name for name in names if name not in used]:
        notes.append(f"{len(unused):,} arrays of {path.name} were not used: {', '.join(unused[:5])}")
    return Dataset(path.stem, images, labels, levels=levels, groups=of, notes=tuple(notes))


def _read(path: Path, wanted: tuple[str, ...]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns the wanted arrays of a file by name (a `.npy`'s only one is `images`), and the names of all."""
    try:
        check_regular(path, "an existing .npz or .npy file")
        with path.open("rb") as file:
            start = file.read(4)
            file.seek(0)
            if start[:2] != b"PK":
                return {IMAGE_KEYS[0]: _array(file, path.stat().st_size)}, [IMAGE_KEYS[0]]
            with zipfile.ZipFile(file) as archive:
                members = {member.filename: member for member in _members(path, archive)}
                found = {}
                for name, member in members.items():
                    key = name.removesuffix(".npy")
                    if key in wanted:
                        with archive.open(member) as stream:
                            found[key] = _array(stream, member.file_size)
                return found, [name.removesuffix(".npy") for name in members]
    except UsageError:
        raise
    except Exception as error:  # numpy and zipfile raise almost anything on corrupt files
        raise UsageError(
            f"cannot read {path}",
            received=f"{type(error).__name__}: {error}",
            legal="a .npz or .npy file without pickled objects",
            mend="write it again with numpy.savez_compressed(path, images=…, labels=…)",
        ) from error


def _members(path: Path, archive: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
    """Yields the arrays of a .npz, each name once, whose sizes are bounded as those of any archive."""
    members = [member for member in archive.infolist() if not member.is_dir()]
    check_total(path, sum(member.file_size for member in members), path.stat().st_size)
    seen: set[str] = set()
    for member in members:
        key = member.filename.removesuffix(".npy")
        if key in seen:
            mend = "write it again with numpy.savez_compressed(path, images=…, labels=…)"
            raise corrupt(path, f"two arrays called {key!r} in it", "each name once", mend)
        seen.add(key)
        yield member


def _array(stream: IO[bytes], size: int) -> np.ndarray:
    """Returns the array of a `.npy` of `size` bytes; nothing is allocated for a claim that it cannot hold."""
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version} of the format")
    shape, by_columns, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("pickled objects (allow_pickle=False)")
    claim = math.prod(shape) * dtype.itemsize
    if claim > min(size, MOST_BYTES):
        raise ValueError(f"a header that claims {claim:,} bytes, where there are {size:,}")
    content = bytearray(claim)
    view, filled = memoryview(content), 0
    while filled < claim and (count := stream.readinto(view[filled:])):  # pyright: ignore[reportAttributeAccessIssue]
        filled += count
    if filled < claim or stream.read(1):
        raise ValueError(f"{filled:,} bytes where the header says {claim:,}, or more than these")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if by_columns else "C")


def _first(arrays: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """Returns the first of `names` that is there."""
    return next((name for name in names if name in arrays), None)


def _channels_first(path: Path, images: np.ndarray, channels: str | None) -> np.ndarray:
    """Returns images as `(N, C, H, W)`, or says that they can be understood in several ways."""
    if images.ndim == 3:
        if _is_one_image(images.shape):
            raise UsageError(
                f"images in {path} may be a single image of several channels",
                received=f"shape {images.shape}",
                legal="(N, C, H, W), (N, H, W, C), or (N, H, W) with no axis that looks like that of channels",
                mend="write images[:, None] for many grey images; a single one is no data set: stack N of them",
            )
        return images[:, None]
    if images.ndim != 4:
        return images
    place = channels or _place(images.shape)
    if place is None:
        raise UsageError(
            f"images in {path} can be understood in two ways",
            received=f"shape {images.shape}",
            legal="(N, C, H, W) or (N, H, W, C), one axis of 1 to 4 channels, or else height equal to width",
            mend="say which: load(…, channels='first') or 'last', in a study data.options: {channels: last}, "
            "or --options channels=last",
        )
    return images if place == FIRST else images.transpose(0, 3, 1, 2)


def _place(shape: tuple[int, ...]) -> str | None:
    """Returns where the channels are by the shape alone, None where that leaves a doubt."""
    first, last = shape[1] in CHANNELS, shape[3] in CHANNELS
    if first != last:
        return FIRST if first else LAST
    square_first, square_last = shape[2] == shape[3], shape[1] == shape[2]
    if square_first != square_last:
        return FIRST if square_first else LAST
    return None


def _is_one_image(shape: tuple[int, ...]) -> bool:
    """Says whether (N, H, W) may as well be (H, W, C) or (C, H, W): an axis of 1 to 4 beside a larger image."""
    last = shape[2] in CHANNELS and shape[1] not in CHANNELS
    return last or (shape[0] in CHANNELS and min(shape[1:]) > max(CHANNELS))
