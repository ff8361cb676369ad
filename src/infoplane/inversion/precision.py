"""In what the products of a training step are computed: in bfloat16 where the device gains by it, else in float32."""

from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from infoplane.densities import Density
from infoplane.inversion.settings import FitSettings

#: flags of processors that multiply matrices of bfloat16, x86's and ARM's
BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


def flags(path: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Returns what all of this machine's processors can do, as Linux says; nothing where that cannot be read."""
    found = []
    with suppress(OSError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("flags", "Features"):
                found.append(frozenset(value.split()))
    return frozenset.intersection(*found) if found else frozenset()


def best_precision(device: torch.device, *, wide: bool) -> Literal["float32", "bfloat16"]:
    """Returns what "auto" is: bfloat16 on a GPU that has it, and for wide products on a processor that computes it.

    A processor gains nothing by it in small convolutions, whose time goes by with moving and rounding numbers; which
    products are wide says `Density.wide`.
    """
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    there = wide and device.type == "cpu" and torch.backends.mkldnn.is_available() and not BFLOAT16.isdisjoint(flags())
    return "bfloat16" if there else "float32"


def is_wide(model: nn.Module) -> bool:
    """Whether any density of a model has wide products."""
    return any(isinstance(module, Density) and module.wide for module in model.modules())


def precision_of(settings: FitSettings, device: torch.device, *, wide: bool = False) -> torch.dtype:
    """The type that products of a training step are computed in; likelihoods never are in less than float32."""
    asked = best_precision(device, wide=wide) if settings.precision == "auto" else settings.precision
    return torch.bfloat16 if asked == "bfloat16" else torch.float32


def autocast(settings: FitSettings, device: torch.device, *, wide: bool = False) -> AbstractContextManager[object]:
    """The context in which the losses of training steps are computed."""
    kind = precision_of(settings, device, wide=wide)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=kind == torch.bfloat16)
