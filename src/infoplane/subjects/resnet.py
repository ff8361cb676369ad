"""The residual network of Darlow and Storkey (2018), as a classifier and as an autoencoder with the same encoder."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, ClassVar

import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from infoplane.arguments import checked
from infoplane.errors import UsageError
from infoplane.subjects.train_epochs import EpochSettings, Objective

Size = Annotated[int, Gt(0)]
Filters = Annotated[int, Gt(0), Le(10**5)]

#: slope of PyTorch's leaky ReLU for negative inputs; the paper gives none
SLOPE = 0.01


class ResidualEncoder(nn.Module):
    """A convolution, three stages of residual blocks, an average pool: what classifier and autoencoder share.

    The network is a chain of parts, which `stages` lists; `h1` … `h4` are parts of it, and no skip leads over them.
    Arguments and errors are those of `ResNet21`.

    Source: Darlow & Storkey 2018, Fig. 6; the order within a block is that of He et al. 2016: convolution, batch norm,
    leaky ReLU, convolution, batch norm, the sum with what went in, leaky ReLU.
    """

    settings: ClassVar[type[EpochSettings]] = EpochSettings

    def __init__(
        self, shape: tuple[int, int, int], filters: tuple[int, int, int], blocks: int, pool: int, slope: float
    ) -> None:
        super().__init__()
        if shape[1] % (4 * pool) or shape[2] % (4 * pool):
            raise UsageError(
                "images of this size do not fit the residual network",
                received=f"{shape[1]}×{shape[2]} pixels",
                legal=f"multiples of 4·pool = {4 * pool}",
                mend="set subject.pool, e.g. to 2, or scale the images with data.downsample",
            )
        self.options = {"filters": tuple(filters), "blocks": blocks, "pool": pool, "slope": slope}
        self.stem = nn.Sequential(*convolution(shape[0], filters[0]), nn.LeakyReLU(slope))
        self.h1 = stage([filters[0]] * (blocks + 1), slope)
        self.h2 = stage([filters[0], *[filters[1]] * blocks], slope, down=True)
        self.h3 = stage([filters[1], *[filters[2]] * blocks], slope, down=True)
        self.h4 = nn.AvgPool2d(pool)
        self.shape: tuple[int, int, int] = shape

    def stages(self) -> dict[str, nn.Module]:
        """Returns the parts by name, in the order in which they follow one another."""
        return {name: getattr(self, name) for name in ("stem", "h1", "h2", "h3", "h4")}

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> the last part's output."""
        for part in self.stages().values():
            x = part(x)
        return x

    def classifier(self, classes: int) -> "ResNet21":
        """Returns a classifier with the same architecture up to `h4` and new weights from the caller's random state."""
        return ResNet21(self.shape, classes, **self.options)  # pyright: ignore[reportArgumentType]


class ResNet21(ResidualEncoder):
    """The classifier: 21 convolutions (1 + 18 + 2 on skips) and a linear layer at the published size.

    Layers to tap, shapes for 32×32 images: `h1` 16×32×32, `h2` 32×16×16, `h3` 64×8×8, `h4` 64×2×2, `logits`.

    Args:
        shape: (C, H, W) of the input; height and width are multiples of 4·pool.
        classes: Number of labels.
        filters: Channels of the three stages; the second and third begin with a stride of two.
        blocks: Residual blocks of two convolutions in every stage.
        pool: Side of the windows that `h4` averages.
        slope: Of the leaky ReLU for negative inputs.

    Raises:
        UsageError: The images' height or width is no multiple of 4·pool.

    Source: Darlow & Storkey 2018, Fig. 6.
    """

    objective: ClassVar[Objective] = "cross-entropy"

    @checked
    def __init__(
        self,
        shape: tuple[Size, Size, Size],
        classes: Size,
        filters: tuple[Filters, Filters, Filters] = (16, 32, 64),
        blocks: Annotated[int, Gt(0), Le(1000)] = 3,
        pool: Annotated[int, Gt(0), Le(1000)] = 4,
        slope: Annotated[float, Ge(0)] = SLOPE,
    ) -> None:
        super().__init__(shape, filters, blocks, pool, slope)
        self.flatten = nn.Flatten()
        self.logits = nn.Linear(filters[2] * (shape[1] // (4 * pool)) * (shape[2] // (4 * pool)), classes)

    def stages(self) -> dict[str, nn.Module]:
        """Returns the parts by name, in the order in which they follow one another."""
        return super().stages() | {"flatten": self.flatten, "logits": self.logits}


class ResNetAutoencoder(ResidualEncoder):
    """The autoencoder: the classifier's encoder, `h4` as the bottleneck, and the encoder mirrored with upsampling.

    Layers to tap as those of `ResNet21` but `logits`; `decoder` is the reconstruction, on the scale of the input and
    not clipped. From the same random state the encoder's initial weights are those of `ResNet21`.

    Arguments and errors are those of `ResNet21`, as all networks are built alike; `classes` is not used, since an
    autoencoder knows no labels.

    Source: Darlow & Storkey 2018, section 5, which says of the decoder that it is "simply inverting the architecture
    using upsampling". Here each part is mirrored, the last one first: a pool becomes copying (nearest neighbours), a
    block with a stride of two one that copies before its last convolution and on its skip, the first convolution a last
    one without leaky ReLU. That one keeps its batch norm: without it training diverges within an epoch at the paper's
    learning rate.
    """

    objective: ClassVar[Objective] = "mse"

    @checked
    def __init__(
        self,
        shape: tuple[Size, Size, Size],
        classes: Size | None = None,
        filters: tuple[Filters, Filters, Filters] = (16, 32, 64),
        blocks: Annotated[int, Gt(0), Le(1000)] = 3,
        pool: Annotated[int, Gt(0), Le(1000)] = 4,
        slope: Annotated[float, Ge(0)] = SLOPE,
    ) -> None:
        super().__init__(shape, filters, blocks, pool, slope)
        self.decoder = nn.Sequential(
            nn.Upsample(scale_factor=pool),
            stage([*[filters[2]] * blocks, filters[1]], slope, up=True),
            stage([*[filters[1]] * blocks, filters[0]], slope, up=True),
            stage([filters[0]] * (blocks + 1), slope),
            nn.Sequential(*convolution(filters[0], shape[0])),
        )

    def stages(self) -> dict[str, nn.Module]:
        """Returns the parts by name, in the order in which they follow one another."""
        return super().stages() | {"decoder": self.decoder}


class ResidualBlock(nn.Module):
    """Two convolutions with what went in added to what comes out: (B, inputs, H, W) -> (B, outputs, H', W').

    With `down` the first has a stride of two, with `up` maps are doubled by copying before the second.
    """

    def __init__(self, inputs: int, outputs: int, slope: float, *, down: bool = False, up: bool = False) -> None:
        super().__init__()
        # Mirrored, a change of channels is where it was: at the larger map.
        between = inputs if up else outputs
        self.first = nn.Sequential(*convolution(inputs, between, stride=2 if down else 1), nn.LeakyReLU(slope))
        self.second = nn.Sequential(*_doubling(up), *convolution(between, outputs))
        self.skip: nn.Module = nn.Identity()
        if inputs != outputs or down or up:
            self.skip = nn.Sequential(*_doubling(up), *convolution(inputs, outputs, kernel=1, stride=2 if down else 1))
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.second(self.first(x)) + self.skip(x), self.slope)


def stage(channels: Sequence[int], slope: float, *, down: bool = False, up: bool = False) -> nn.Sequential:
    """Returns residual blocks one after the other, with so many channels before the first and after each.

    The first block halves height and width (`down`), or the last one doubles them (`up`).
    """
    last = len(channels) - 2
    blocks = [
        ResidualBlock(inputs, outputs, slope, down=down and at == 0, up=up and at == last)
        for at, (inputs, outputs) in enumerate(pairwise(channels))
    ]
    return nn.Sequential(*blocks)


def convolution(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    """Returns a convolution with its batch norm, whose bias makes one of the convolution needless."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


def _doubling(up: bool) -> list[nn.Module]:
    return [nn.Upsample(scale_factor=2)] if up else []
