"""Folders of image files: one subfolder per class, or images alone."""

import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from infoplane.data.dataset import Dataset
from infoplane.errors import UsageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")

# Pillow's modes of 8 bits a channel (or fewer). Others (I, I;16, F) hold more than 256 levels, and converting them
# would clip without a word.
_GREY = ("1", "L", "LA")
_COLOUR = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")

_LEGAL = "DIR/CLASS/*.png or DIR/*.png (also jpg, jpeg, bmp)"


def load_folder(path: str | os.PathLike[str]) -> Dataset:
    """Returns the images of a folder as a data set of 256 levels, named after the folder.

    `DIR/CLASS/*` gives labelled images: label k is the k-th subfolder in the order of their names (as text, so that
    "10" comes before "2"). `DIR/*` gives images without labels. Files are taken in the order of their names; those
    that are not .png, .jpg, .jpeg or .bmp and names that start with a dot are ignored.

    Greyscale images have one channel, all others become RGB, transparency being dropped. Where a folder has both,
    grey ones become RGB with three equal channels.

    Args:
        path: The folder.

    Raises:
        UsageError: If there are no images, their sizes differ, or one cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        raise UsageError("no such folder", received=path, legal=_LEGAL)
    files, labels, classes = _list(path)
    # Sizes and modes stand in the files' headers: a folder that does not fit together fails before any decoding.
    size, grey = _header(files[0])
    for file in files[1:]:
        other, is_grey = _header(file)
        if other != size:
            raise UsageError(
                f"images of {path} differ in size",
                received=f"{file}: {other[0]}×{other[1]} pixels (width × height)",
                legal=f"{size[0]}×{size[1]}, as {files[0].name}",
                mend="resize or crop all to one size",
            )
        grey = grey and is_grey
    images = np.empty((len(files), 1 if grey else 3, size[1], size[0]), dtype=np.uint8)
    for index, file in enumerate(files):
        images[index] = _pixels(file, grey)
    count = None if classes is None else len(classes)
    return Dataset(path.resolve().name, images, labels, classes=count, class_names=classes)


def decode(source: Path | BinaryIO, name: object, size: tuple[int, int] | None) -> tuple[np.ndarray, bool]:
    """Returns the pixels of an image, uint8 RGB `(H, W, 3)`, and whether it is grey.

    Args:
        source: The file, or a stream of its content.
        name: What error messages call it.
        size: (width, height) that it must have, or None for any.

    Raises:
        UsageError: It is damaged, has another size, or more than 8 bits a channel.
    """
    from PIL import Image

    try:
        with Image.open(source) as image:
            found, mode = image.size, image.mode
            usable = mode in _GREY + _COLOUR and size in (None, found)
            # Nothing is decoded of an image that will be refused.
            pixels = np.asarray(_without_palette(image).convert("RGB")) if usable else None
    except Exception as error:
        raise _corrupt(name, error) from error
    if pixels is None:
        _check_mode(name, mode)
        raise UsageError(
            f"{name} differs in size from the images before it",
            received=f"{found[0]}×{found[1]} pixels (width × height)",
            legal="one size" if size is None else f"{size[0]}×{size[1]}",
            mend="resize or crop all to one size",
        )
    return pixels, mode in _GREY


def _list(path: Path) -> tuple[list[Path], np.ndarray | None, tuple[str, ...] | None]:
    """Returns the image files, their labels `(N,)` and the names of the classes (None for a flat folder)."""
    flat = _images(path)
    folders = [entry for entry in _entries(path) if entry.is_dir()]
    classes = {folder: _images(folder) for folder in folders}
    if not flat and not any(classes.values()):
        raise UsageError("no images in the folder", received=path, legal=_LEGAL)
    if not any(classes.values()):
        return flat, None, None
    if flat:
        raise UsageError(
            f"images both in {path} and in its subfolders",
            received=f"{flat[0].name} beside the folder {folders[0].name}",
            legal=_LEGAL,
            mend="move the loose images into class folders",
        )
    for folder, files in classes.items():
        # Skipping it would give its label to the next class.
        if not files:
            mend = "fill the folder or remove it"
            raise UsageError("a class folder has no images", received=folder, legal=_LEGAL, mend=mend)
    labels = np.repeat(np.arange(len(folders)), [len(files) for files in classes.values()])
    return [file for files in classes.values() for file in files], labels, tuple(folder.name for folder in folders)


def _images(folder: Path) -> list[Path]:
    """Returns the image files directly in a folder, in the order of their names."""
    return [entry for entry in _entries(folder) if entry.suffix.lower() in SUFFIXES and entry.is_file()]


def _entries(folder: Path) -> list[Path]:
    """Returns what a folder holds, in the order of the names, dot-files left out."""
    try:
        found = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise UsageError("cannot read the folder", received=error, legal=_LEGAL) from error
    return sorted(found, key=lambda entry: entry.name)


def _header(file: Path) -> tuple[tuple[int, int], bool]:
    """Returns (width, height) and whether the image is grey, without decoding it."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            size, mode = image.size, image.mode
    except Exception as error:
        raise _corrupt(file, error) from error
    _check_mode(file, mode)
    return size, mode in _GREY


def _pixels(file: Path, grey: bool) -> np.ndarray:
    """Returns the pixels of one file, uint8 `(C, H, W)`."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            pixels = np.asarray(_without_palette(image).convert("L" if grey else "RGB"))
    except Exception as error:
        raise _corrupt(file, error) from error
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def _without_palette(image: Any) -> Any:
    """Returns an image with colours of its own; from a palette in two steps: Pillow warns about doing it in one."""
    return image.convert("RGBA") if image.mode in ("P", "PA") else image


def _check_mode(file: object, mode: str) -> None:
    """Raises `UsageError` for an image with more than 8 bits a channel."""
    if mode not in _GREY + _COLOUR:
        raise UsageError(
            f"cannot use the pixels of {file}",
            received=f"Pillow mode {mode!r}",
            legal="8 bits per channel",
            mend="convert it to 8-bit greyscale or RGB",
        )


def _corrupt(file: object, error: Exception) -> UsageError:
    """Returns the error for a file that Pillow refuses; its decoders raise almost anything on corrupt input."""
    return UsageError(
        f"cannot read the image {file}",
        received=f"{type(error).__name__}: {error}",
        legal="an intact png, jpg, jpeg or bmp file",
        mend="replace or remove it",
    )
