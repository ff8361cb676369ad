"""How a layer's axes are read, and what a density conditions on: a vector (B, d) or a map (B, c, rows, columns)."""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor

from infoplane.arguments import check_argument, checked
from infoplane.checks import type_and_shape
from infoplane.errors import UsageError

#: values that are in work at a time
VALUES = 2**22
#: features of a flat context: beyond, the layer that reads it outgrows the density
MAX_CONTEXT = 65_536
#: directions that a wider vector is projected onto
DIRECTIONS = 16_384
#: values of a map for one image, leading tokens counted at every position: beyond, a batch of them outgrows memory
MAX_MAP = 2**21
#: a map is pooled until it could keep so many channels
LEAST_CHANNELS = 16


@dataclasses.dataclass(frozen=True)
class Reading:
    """How the axes of a layer's activation are read. Called with activations, it returns what a density is given.

    Every reading keeps all that an activation holds, whatever its axes are (`__call__` is injective), unless the
    layer is too wide: then it is pooled or projected, which `altered` says.

    Attributes:
        shape: Of one activation.
        at: Which axes are positions: none (a vector), one (tokens that fill a grid row by row), or that of the rows
            and that of the columns. All others, in their order, are channels.
        grid: Rows and columns of the positions; (1, 1) of a vector.
        leading: Tokens before those of the grid, such as class tokens and registers.
        guess: Whether nothing but the sizes speaks for it.
        told: Whether the user said so.
    """

    shape: tuple[int, ...]
    at: tuple[int, ...] = ()
    grid: tuple[int, int] = (1, 1)
    leading: int = 0
    guess: bool = False
    told: bool = False

    # ---- what a density is given ----

    def __call__(self, activation: Tensor) -> Tensor:
        """Returns activations `(B, …)` as a density conditions on them: (B, d), or (B, c, rows, columns) float32.

        Leading tokens are repeated at every position, as channels after those of the grid's tokens.
        """
        return self.spread(self.condense(activation))

    def condense(self, activation: Tensor) -> Tensor:
        """Returns what has to be kept of activations `(B, …)`: themselves, unless they are pooled or projected."""
        check_argument("activations", activation, Tensor)
        if activation.is_complex() or tuple(activation.shape[1:]) != self.shape:
            legal = f"real (B, {', '.join(map(str, self.shape))})"
            raise UsageError("activations do not fit the reading", received=type_and_shape(activation), legal=legal)
        if self.altered is None:
            return activation
        return torch.cat([self._reduced(part) for part in activation.split(self.rows_in_work)])

    def spread(self, condensed: Tensor) -> Tensor:
        """Returns what `condense` kept as a density conditions on it; views as far as they go."""
        kept = self._canonical(condensed) if self.altered is None else condensed
        if not self.at:
            return kept.float()
        positions = kept[:, :, self.leading :].unflatten(2, self._pooled)
        if self.leading:
            first = kept[:, :, : self.leading].transpose(1, 2).flatten(1)
            positions = torch.cat([positions, first[:, :, None, None].expand(-1, -1, *self._pooled)], dim=1)
        return positions.float().contiguous()

    def units(self, context: Tensor) -> Tensor:
        """Returns what `__call__` returned, standardised or not, as vectors (B, d) that hold every unit once."""
        if not self.leading:
            return context.flatten(1)
        channels = self._channels
        return torch.cat([context[:, :channels].flatten(1), context[:, channels:, 0, 0]], dim=1)

    @property
    def context(self) -> tuple[int, ...]:
        """The shape of one context."""
        if not self.at:
            return (self._channels,)
        return (self._channels * (1 + self.leading), *self._pooled)

    def batches(self, activations: Tensor) -> Iterator[Tensor]:
        """Yields the contexts of many activations, as `condense` left them, a few at a time."""
        return (self.spread(part) for part in activations.split(self.rows_in_work))

    @property
    def rows_in_work(self) -> int:
        """So many activations, and their contexts, are in memory at a time where many are worked through."""
        return max(1, 4 * VALUES // max(math.prod(self.shape), math.prod(self.context)))

    # ---- what is too wide ----

    @property
    def altered(self) -> Literal["pooled", "projected"] | None:
        """What is done with a layer that is too wide; of one that is pooled and projected, "projected"."""
        if self._channels < self._all_channels:
            return "projected"
        return "pooled" if self._pooled != self.grid else None

    @property
    def _all_channels(self) -> int:
        return math.prod(size for axis, size in enumerate(self.shape) if axis not in self.at)

    @property
    def _pooled(self) -> tuple[int, int]:
        """The grid after pooling: halved until a few channels have room."""
        rows, columns = self.grid
        few = (1 + self.leading) * min(self._all_channels, LEAST_CHANNELS)
        while self.at and rows * columns * few > MAX_MAP:
            rows, columns = math.ceil(rows / 2), math.ceil(columns / 2)
        return rows, columns

    @property
    def _channels(self) -> int:
        """Channels, or features of a vector, after projection."""
        if not self.at:
            return self._all_channels if self._all_channels <= MAX_CONTEXT else DIRECTIONS
        room = MAX_MAP // (math.prod(self._pooled) * (1 + self.leading))
        return min(self._all_channels, max(1, room))

    def _canonical(self, activation: Tensor) -> Tensor:
        """(B, *shape) -> (B, d), or (B, channels, positions), leading tokens first."""
        if not self.at:
            # Not reshape(B, -1): that is ill-defined for a batch of none.
            return activation[:, None] if activation.ndim == 1 else activation.flatten(1)
        last = activation.movedim([axis + 1 for axis in self.at], [*range(-len(self.at), 0)])
        positions = math.prod(self.shape[axis] for axis in self.at)
        return last.reshape(len(activation), self._all_channels, positions)

    def _reduced(self, activation: Tensor) -> Tensor:
        """The same after pooling and projection, float32."""
        kept = self._canonical(activation).float()
        if self._pooled != self.grid:
            pooled = F.adaptive_avg_pool2d(kept[:, :, self.leading :].unflatten(2, self.grid), self._pooled)
            kept = torch.cat([kept[:, :, : self.leading], pooled.flatten(2)], dim=2)
        if not self.at:
            return project(kept, self._channels)
        if self._channels < self._all_channels:
            # The same directions at every position, leading tokens included.
            flat = project(kept.transpose(1, 2).flatten(0, 1), self._channels)
            kept = flat.unflatten(0, (len(activation), -1)).transpose(1, 2)
        return kept

    # ---- words and files ----

    @property
    def words(self) -> str:
        """How the layer is read, e.g. "map 96×56×56, channels last"."""
        text = self._axes
        if self._pooled != self.grid:
            text += f", pooled to {self._pooled[0]}×{self._pooled[1]}"
        if self._channels < self._all_channels:
            where = " at every position" if self.at else ""
            text += f", projected onto {self._channels:,} of {self._all_channels:,} directions{where}"
        return text + ", a guess" * self.guess

    @property
    def _axes(self) -> str:
        if not self.at:
            if sum(size > 1 for size in self.shape) <= 1:
                return f"vector of {self._all_channels:,}"
            return f"{'×'.join(map(str, self.shape))} flattened to a vector of {self._all_channels:,}"
        name = f"map {self._all_channels}×{self.grid[0]}×{self.grid[1]}"
        if len(self.at) == 2:
            order = {(1, 2): "channels first", (0, 1): "channels last"} if len(self.shape) == 3 else {}
            return f"{name}, {order.get(self.at, f'axes {self.pattern}')}"
        leading = f" behind {self.leading} leading, which are repeated at every position" if self.leading else ""
        return f"{name} of tokens{leading}" + ("" if self.at == (0,) else f", axes {self.pattern}")

    @property
    def pattern(self) -> str:
        """The reading as `read_as` takes it, a letter for each axis: c channels, h rows, w columns, n tokens."""
        if not self.at:
            return "vector"
        letters = dict(zip(self.at, "hw" if len(self.at) == 2 else "n", strict=True))
        text = "".join(letters.get(axis, "c") for axis in range(len(self.shape)))
        return text + (f"+{self.leading}" if self.leading else "")

    def to_json(self) -> dict[str, Any]:
        """The reading as JSON, with its words, from which `from_json` makes it again."""
        return {**dataclasses.asdict(self), "words": self.words, "altered": self.altered}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Reading":
        """The reading that `to_json` wrote."""
        at, grid = tuple(content["at"]), (content["grid"][0], content["grid"][1])
        own = {name: content[name] for name in ("leading", "guess", "told")}
        return cls(tuple(content["shape"]), at, grid, **own)


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
    generator = torch.Generator().manual_seed(0)  # the same layer is projected alike in every run
    signs = (torch.randint(0, 2, (width,), generator=generator) * 2 - 1).to(h.device, torch.float32)
    chosen = torch.randperm(width, generator=generator)[:directions].sort().values.to(h.device)
    found = torch.empty(len(h), directions, device=h.device)
    step = max(1, VALUES // width)
    for start in range(0, len(h), step):
        half = torch.fft.rfft(h[start : start + step].float() * signs, norm="ortho")
        # X_(d−k) is the conjugate of X_k, and the transform Re X − Im X.
        mirrored = half[:, 1 : (width + 1) // 2].flip(1)
        transformed = torch.cat([half.real - half.imag, mirrored.real + mirrored.imag], dim=1)
        found[start : start + step] = transformed[:, chosen]
    return found


@checked
def vector(shape: Sequence[Annotated[int, Ge(0)]], *, guess: bool = False, told: bool = False) -> Reading:
    """The reading of an activation as a vector."""
    return Reading(tuple(shape), guess=guess, told=told)


@checked
def check_pattern(layer: str, pattern: str) -> None:
    """Raises UsageError where a pattern is none that `read_as` takes."""
    known = re.fullmatch(r"vector|(?=[^n]*n[^n]*$)[cn]+(\+\d+)?|(?=[^h]*h[^h]*$)(?=[^w]*w[^w]*$)[chw]+", pattern)
    if known is None:
        raise UsageError(
            f"cannot read layer {layer!r} so",
            received=repr(pattern),
            legal="vector, or a letter for each axis (c channels, h rows, w columns, n tokens), such as chw, hwc, nc; "
            "+k after n for k leading tokens, as in nc+1",
        )
