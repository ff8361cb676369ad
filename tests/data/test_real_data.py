"""The real files: published counts, means, label histograms and checksums. Where they are, `INFOPLANE_DATA` says."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from infoplane.data import Dataset, load, split
from infoplane.data.files import read_start

ROOT = os.environ.get("INFOPLANE_DATA")

pytestmark = pytest.mark.skipif(ROOT is None, reason="INFOPLANE_DATA is not set: no real data sets here")


def real(name: str, **options) -> Dataset:
    if not (Path(ROOT or "") / name).is_dir():
        pytest.skip(f"no {name} in INFOPLANE_DATA")
    return load(name, **options)


def pool(dataset: Dataset, part: str) -> tuple[np.ndarray, np.ndarray]:
    assert dataset.pools is not None
    assert dataset.labels is not None
    where = dataset.pools[part]
    return dataset.images[where], np.bincount(dataset.labels[where])


# The means are those by which everybody normalises (of the training part, in [0, 1]); the histograms are published.
MNIST_TRAIN = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
MNIST_TEST = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.parametrize(
    ("name", "mean", "train", "test"),
    [
        ("mnist", 0.1306604762738429, MNIST_TRAIN, MNIST_TEST),
        ("fashion_mnist", 0.2860405969887955, [6000] * 10, [1000] * 10),
    ],
)
def test_mnist_and_fashion_mnist(name, mean, train, test):
    dataset = real(name)
    assert (dataset.name, dataset.shape, dataset.levels, dataset.classes) == (name, (1, 28, 28), 256, 10)
    images, histogram = pool(dataset, "encoding")
    assert len(images) == 60_000
    assert images.mean(dtype=float) / 255 == pytest.approx(mean, abs=1e-12)
    assert histogram.tolist() == train
    images, histogram = pool(dataset, "evaluation")
    assert len(images) == 10_000
    assert histogram.tolist() == test
    assert dataset.pools is not None
    assert np.array_equal(dataset.pools["encoding"], dataset.pools["decoding"])


def test_mnist_by_checksum():
    dataset = real("mnist")
    raw = read_start(Path(ROOT or "") / "mnist" / "train-images-idx3-ubyte.gz", 1 << 30)
    digest = hashlib.sha256(raw).hexdigest()
    assert digest == "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    assert dataset.images[:60_000].tobytes() == raw[16:]


def test_mnist_at_half_size():
    dataset = real("mnist", downsample=2)
    assert dataset.images.shape == (70_000, 1, 14, 14)
    whole = load("mnist")
    square = whole.images[::7000, :, 10:12, 14:16].mean(axis=(2, 3), dtype=float)
    assert np.array_equal(dataset.images[::7000, :, 5, 7], np.floor(square + 0.5))
    parts = split(dataset, encoding=30_000, decoding=None, evaluation=10_000, seed=0)
    assert len(parts.decoding) == 30_000
    assert sorted(parts.evaluation) == [*range(60_000, 70_000)]


@pytest.mark.parametrize("name", ["cifar10_exact_subset", "cifar10"])
def test_the_exact_subset_of_cifar10(name):
    real("cifar10_exact_subset")
    if (Path(ROOT or "") / "cifar10").exists():
        pytest.skip("full CIFAR-10 is there")
    dataset = load(name)
    assert dataset.name == "cifar10 (8,068 + 1,017 images)"
    assert dataset.images.shape == (9085, 3, 32, 32)
    assert dataset.class_names is not None
    assert dataset.class_names[3] == "cat"
    assert dataset.labels is not None
    # The first labels of data_batch_1 and of test_batch, as in every tutorial; the first image is a frog, brown and
    # green: its first red, green and blue value is that of the official file.
    assert dataset.labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert dataset.labels[8068:8078].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert dataset.images[0, :, 0, 0].tolist() == [59, 62, 63]
    images, _ = pool(dataset, "encoding")
    assert len(images) == 8068
    # Means of the whole training part by channel are known; 8,068 images err by s.d. .25 / √8068 · (correlated) ≈ .002.
    assert np.allclose(images.mean(axis=(0, 2, 3), dtype=float) / 255, [0.4914, 0.4822, 0.4465], atol=0.008)
    assert len(pool(dataset, "evaluation")[0]) == 1017


@pytest.mark.xdist_group("cinic10_layout")
@pytest.mark.usefixtures("read_once")
def test_the_layout_of_cinic10():
    dataset = real("cinic10_layout", subset=3000, downsample=2)
    assert dataset.name == "cinic10_layout (not CINIC-10; 3,000 of 60,000; downsampled 2×)"  # and so there are 60,000
    assert dataset.shape == (3, 16, 16)
    assert dataset.class_names is not None
    assert list(dataset.class_names) == sorted(dataset.class_names)
    for part in ("encoding", "decoding", "evaluation"):
        _, histogram = pool(dataset, part)
        assert histogram.tolist() == [100] * 10  # of 2,000 each
    assert 0.3 < dataset.images.mean() / 255 < 0.6


def test_szt():
    dataset = real("szt")
    assert (dataset.name, dataset.shape, dataset.levels, dataset.classes) == ("szt", (1, 1, 12), 2, 2)
    assert dataset.labels is not None
    assert np.bincount(dataset.labels).tolist() == [1978, 2118]
    bits = dataset.images.reshape(4096, 12)
    assert len(np.unique(bits, axis=0)) == 4096  # every input once
    assert sorted(bits @ (1 << np.arange(12))) == [*range(4096)]
