"""A hash of what a measurement's settings do not say."""

import hashlib

import numpy as np
import torch
from torch import Tensor

from infoplane import data
from infoplane.capture import activations, seeded
from infoplane.study.task import Live


def fingerprint_of(dataset: data.Dataset, live: Live, layers: list[str]) -> str:
    """A hash of images, labels, weights and activations: a folder's results are taken up again only for the same ones.

    Weights alone do not tell networks apart whose code or transform has changed. Activations enter with three digits,
    since more may depend on the number of threads.
    """
    # Hashed where they lie: a copy of the images would be as large as they are.
    digest = hashlib.sha256(dataset.images.data)
    digest.update(str((dataset.images.shape, dataset.levels)).encode())
    for each in (dataset.labels, dataset.groups):
        if each is not None:
            digest.update(np.ascontiguousarray(each).data)
    with seeded(0):
        found = activations(
            live.model, layers, torch.from_numpy(dataset.images[:16]), transform=live.transform, warn=False
        )
    for name, activation in found.items():
        sizes = activation.double().flatten(1).abs().mean(1)
        digest.update(f"{name} {[f'{size:.3g}' for size in sizes.tolist()]}".encode())
    for at, state in {"": live.model.state_dict(), **live.states}.items():
        digest.update(at.encode())
        for name, tensor in sorted(state.items()):
            if isinstance(tensor, Tensor):
                digest.update(name.encode())
                digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
