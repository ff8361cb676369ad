"""Small files in the official formats, written byte by byte from the formats' descriptions."""

import gzip
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def images(n: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Returns random uint8 images `(n, *shape)`."""
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def labels(n: int, classes: int = 10) -> np.ndarray:
    """Returns labels 0, 1, 2, … in turn."""
    return np.arange(n) % classes


def idx(array: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes."""
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, train: int = 30, test: int = 10, *, packed: bool = True) -> dict[str, np.ndarray]:
    """Writes the four files of MNIST, 4×6 pixels; returns what is in them."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "train-images-idx3-ubyte": images(train, 4, 6, seed=1),
        "train-labels-idx1-ubyte": labels(train),
        "t10k-images-idx3-ubyte": images(test, 4, 6, seed=2),
        "t10k-labels-idx1-ubyte": labels(test),
    }
    for name, array in content.items():
        raw = idx(array)
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(raw) if packed else raw)
    return content


def cifar_binary(pixels: np.ndarray, classes: np.ndarray) -> bytes:
    """A batch of the binary version: one byte of label, 3,072 of pixels."""
    return b"".join(bytes([label]) + image.tobytes() for image, label in zip(pixels, classes))


def short_string(content: bytes) -> bytes:
    """A string as Python 2 pickles it."""
    return (
        b"U" + bytes([len(content)]) + content
        if len(content) < 256
        else b"T" + struct.pack("<i", len(content)) + content
    )


def cifar_python(pixels: np.ndarray, classes: np.ndarray) -> bytes:
    """A batch of the Python version, instruction by instruction as Python 2's cPickle wrote it (protocol 2)."""
    n = len(pixels)
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85U\x01b\x87Rq\x04"
        + b"(K\x01M"
        + struct.pack("<H", n)
        + b"M\x00\x0c\x86"
        + b"cnumpy\ndtype\nq\x05U\x02u1K\x00K\x01\x87Rq\x06(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + b"\x89"
        + short_string(pixels.tobytes())
        + b"tb"
    )
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in classes) + b"e"
    files = b"](" + b"".join(short_string(b"some_picture.png") for _ in range(n)) + b"e"
    pairs = {
        b"data": array,
        b"labels": numbers,
        b"batch_label": short_string(b"training batch 1 of 5"),
        b"filenames": files,
    }
    return b"\x80\x02}q\x01(" + b"".join(short_string(key) + value for key, value in pairs.items()) + b"u."


def write_cifar(folder: Path, *, python: bool, per_batch: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Writes five training batches and the test batch; returns all images `(6 · per_batch, 3, 32, 32)` and labels."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels, classes = images(6 * per_batch, 3, 32, 32), labels(6 * per_batch)
    names = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]
    for k, name in enumerate(names):
        part = slice(k * per_batch, (k + 1) * per_batch)
        make = cifar_python if python else cifar_binary
        (folder / (name if python else f"{name}.bin")).write_bytes(make(pixels[part], classes[part]))
    return pixels, classes


class Touch:
    """An object whose pickle creates a file where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def cifar_with_code(path: Path, protocol: int) -> bytes:
    """A batch that creates a file when it is unpickled."""
    pixels, classes = images(2, 3072), labels(2)
    return pickle.dumps({"data": pixels, "labels": classes.tolist(), "extra": Touch(path)}, protocol=protocol)


def write_svhn(folder: Path, train: int = 12, test: int = 6, *, compress: bool = True) -> dict[str, np.ndarray]:
    """Writes both files; returns images `(n, 3, 32, 32)` and the digits, by part."""
    from scipy.io import savemat

    folder.mkdir(parents=True, exist_ok=True)
    content = {}
    for part, n in (("train", train), ("test", test)):
        pixels, digits = images(n, 3, 32, 32, seed=n), labels(n)
        stored = np.where(digits == 0, 10, digits).astype(np.uint8)[:, None]
        variables = {"X": pixels.transpose(2, 3, 1, 0), "y": stored}
        savemat(folder / f"{part}_32x32.mat", variables, do_compression=compress)
        content |= {part: pixels, f"{part}_labels": digits}
    return content


def affnist_batch(pixels: np.ndarray, digits: np.ndarray) -> bytes:
    """One .mat file: a struct of eight fields, images as columns."""
    from scipy.io import savemat

    n = len(pixels)
    fields = {
        "affine_trans_matrix": np.zeros((6, n)),
        "inv_affine_trans_matrix": np.zeros((6, n)),
        "image": pixels.reshape(n, 1600).T,
        "id": np.arange(1.0, n + 1)[None],
        "label_one_of_n": np.eye(10)[digits].T,
        "label_int": digits[None].astype(np.uint8),
        "human_readable_transform": np.zeros((6, n)),
        "original_id": np.arange(1.0, n + 1)[None],
    }
    stream = io.BytesIO()
    savemat(stream, {"affNISTdata": fields}, do_compression=True)
    return stream.getvalue()


def png(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    """An image file of `(3, H, W)` or `(H, W)`."""
    stream = io.BytesIO()
    rows = pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
    Image.fromarray(rows).save(stream, kind)
    return stream.getvalue()


def parted(per_class: int = 2, classes: tuple[str, ...] = ("cat", "dog", "emu")) -> dict[str, np.ndarray]:
    """Names in CINIC-10's layout and the images under them."""
    names = [
        f"{part}/{label}/{k}.png" for part in ("train", "valid", "test") for label in classes for k in range(per_class)
    ]
    return dict(zip(names, images(len(names), 3, 8, 8)))


def write_parted(folder: Path, content: dict[str, np.ndarray]) -> None:
    """Writes images as files into folders."""
    for name, pixels in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(pixels))


def tar(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> None:
    """Writes a .tar or .tar.gz; a TarInfo stands for a member that is no plain file."""
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
