"""Orthonormal projections of activations that are too wide: seeded, in bounded memory."""

import torch
from torch import Tensor

#: values that are in work at a time
VALUES = 2**22
#: what every projection is drawn with: the same layer is projected alike in every run
SEED = 0


def project(h: Tensor, directions: int) -> Tensor:
    """Returns the coordinates of each row along so many orthonormal directions: (B, d) -> (B, directions), float32.

    The directions are rows, chosen at random, of the orthogonal matrix T S: S flips signs at random and
    T_jk = (cos + sin)(2πjk/d) / √d is the discrete Hartley transform, so that each direction weighs all coordinates
    alike. T is orthogonal for every d, not for powers of two only; what is returned differs from exact coordinates by
    the rounding of float32 alone. Signs and choice depend on d and on the number of directions, on nothing else. Rows
    are transformed a few at a time: memory beside input and output is a few times `VALUES`, or one row.

    Source: a subsampled randomised orthogonal transform (Ailon & Chazelle 2009; Tropp 2011).
    """
    width = h.shape[1]
    generator = torch.Generator().manual_seed(SEED)
    signs = (torch.randint(0, 2, (width,), generator=generator) * 2 - 1).to(h.device, torch.float32)
    chosen = torch.randperm(width, generator=generator)[:directions].sort().values.to(h.device)
    found = torch.empty(len(h), directions, device=h.device)
    step = max(1, VALUES // width)
    for start in range(0, len(h), step):
        found[start : start + step] = _hartley(h[start : start + step].float() * signs)[:, chosen]
    return found


def _hartley(x: Tensor) -> Tensor:
    """The discrete Hartley transform of each row, orthonormal: (B, d) -> (B, d)."""
    half = torch.fft.rfft(x, norm="ortho")
    # X_(d−k) is the conjugate of X_k, and the transform Re X − Im X.
    mirrored = half[:, 1 : (x.shape[1] + 1) // 2].flip(1)
    return torch.cat([half.real - half.imag, mirrored.real + mirrored.imag], dim=1)
