"""Good arguments of public functions, small ones."""

import numpy as np
import torch
from call_inputs import Call
from torch import nn

from infoplane import densities, inversion, subjects

R, N, K, CLASSES = 3, 12, 4, 3
SHAPE, LEVELS = (1, 2, 4), 4
TINY = inversion.FitSettings(updates=1, evaluations=1, batch=4, warm_start="none", warmup=0)


def drawn(*shape: int) -> np.ndarray:
    """Numbers that half precision has too."""
    return np.random.default_rng(0).integers(-8, 8, shape) / 4


def logs() -> np.ndarray:
    return -1.0 - np.abs(drawn(R, N))


def more_logs() -> np.ndarray:
    return -2.0 - np.abs(drawn(R, N))


def labels() -> np.ndarray:
    return np.arange(N) % CLASSES


def tensor_labels() -> torch.Tensor:
    return torch.arange(N) % CLASSES


def images() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, LEVELS, (N, *SHAPE), dtype=np.uint8))


def context() -> torch.Tensor:
    return torch.from_numpy(drawn(N, 5)).float()


def density(shape: tuple[int, ...] | None = (5,)) -> densities.Density:
    options = {"filters": 2, "residual_layers": 1, "scales": 1, "dropout": 0.0}
    return densities.build("pixelcnn", SHAPE, LEVELS, shape, options).eval()


def pairs() -> inversion.Pairs:
    return inversion.Pairs(images(), context())


def network() -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, CLASSES)).eval()


def scaled(x: torch.Tensor) -> torch.Tensor:
    return x.float() / 3


def staged() -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return subjects.NashCNN((1, 8, 8), CLASSES, filters=(2, 2), hidden=4, kernel=3, padding=1).eval()


def always(value):
    return lambda: value


def given(function, kinds=None, spared=(), **good):
    return Call(function, good, kinds or {}, frozenset(spared))


LOGS, ACTS, CONTEXT, LABELS, IMAGES = "log-probabilities", "activations", "context", "labels", "images"
ROWS = "rows"
