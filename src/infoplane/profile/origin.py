"""Hashes of what a measurement's settings do not say."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infoplane import data
from infoplane.capture import activations, seeded
from infoplane.capture.pytrees import own_batch
from infoplane.capture.recording import in_single
from infoplane.measurements.task import END, Live
from infoplane.study.origin import Origin


def origin_of(dataset: data.Dataset, live: Live, layers: list[str]) -> Origin:
    """Returns hashes of the data, of the weights at each checkpoint, and of the activations of each layer.

    A folder's results are taken up again only for the same ones. Weights alone do not tell networks apart whose code or
    transform has changed. Activations enter with three digits, since more may depend on the number of threads.
    """
    # Hashed where they lie: a copy of the images would be as large as they are.
    digest = hashlib.sha256(dataset.images.data)
    digest.update(str((dataset.images.shape, dataset.levels)).encode())
    for each in (dataset.labels, dataset.groups):
        if each is not None:
            digest.update(np.ascontiguousarray(each).data)
    with seeded(0):
        found = activations(live.model, layers, own_batch(dataset.images[:16]), transform=live.transform, warn=False)
    states = {END: live.model.state_dict(), **live.states}
    return Origin(
        digest.hexdigest()[:16],
        {name: _of_weights(state) for name, state in states.items()},
        {name: _of_sizes(in_single(name, h)) for name, h in found.items()},
    )


def _of_sizes(activation: Tensor) -> str:
    # A layer of one number per example has no axis of units.
    sizes = activation.double().reshape(len(activation), -1).abs().mean(1)
    return hashlib.sha256(f"{[f'{size:.3g}' for size in sizes.tolist()]}".encode()).hexdigest()[:16]


def _of_weights(state: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        if isinstance(tensor, Tensor):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
