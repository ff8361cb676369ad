"""The convolutional classifier of Nash et al. (2019), at any size."""

from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn

from infoplane.arguments import checked
from infoplane.errors import UsageError
from infoplane.subjects.train import TrainSettings
from infoplane.subjects.train_epochs import Objective

Size = Annotated[int, Gt(0)]
Filters = Annotated[int, Gt(0), Le(10**5)]


class NashCNN(nn.Module):
    """2 × (convolution, ReLU, 2×2 max-pool) → fully connected, ReLU → logits; dropout before all but the first layer.

    Layers to tap: `conv1`, `conv2` (after pooling), `fc3` (after ReLU), `logits`.

    Args:
        shape: (C, H, W) of the input.
        classes: Number of labels.
        filters: Channels of the two convolutions; 32, 32 (MNIST) or 64, 128 (colour) in the paper.
        hidden: Units of `fc3`.
        kernel: Size of the convolutions' kernels.
        padding: Zeros around each convolution's input; none in the paper.
        dropout: Probability of dropping a unit.

    Source: Nash et al. 2019, appendix A.
    """

    objective: ClassVar[Objective] = "cross-entropy"
    settings: ClassVar[type[TrainSettings]] = TrainSettings

    @checked
    def __init__(
        self,
        shape: tuple[Size, Size, Size],
        classes: Size,
        filters: tuple[Filters, Filters] = (32, 32),
        hidden: Annotated[int, Gt(0), Le(10**6)] = 256,
        kernel: Annotated[int, Gt(0), Le(1000)] = 5,
        padding: Annotated[int, Ge(0), Le(1000)] = 0,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.5,
    ) -> None:
        super().__init__()
        channels, rows, columns = shape
        for _ in range(2):
            rows, columns = ((size + 2 * padding - kernel + 1) // 2 for size in (rows, columns))
        if min(rows, columns) < 1:
            raise UsageError(
                "the images are too small for this network",
                received=f"{shape[1]}×{shape[2]} pixels, kernel {kernel}, padding {padding}",
                mend="set subject.kernel to 3 and subject.padding to 1",
            )

        def block(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=padding), nn.ReLU(), nn.MaxPool2d(2))

        self.shape, self.dropout = shape, dropout
        self.options = {"filters": tuple(filters), "hidden": hidden, "kernel": kernel, "padding": padding}
        self.conv1 = block(channels, filters[0])
        self.conv2 = block(filters[0], filters[1])
        self.fc3 = nn.Sequential(nn.Linear(filters[1] * rows * columns, hidden), nn.ReLU())
        self.logits = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> logits (B, classes)."""
        for part in self.stages().values():
            x = part(x)
        return x

    def stages(self) -> dict[str, nn.Module]:
        """Returns the parts by name, in the order in which they follow one another."""
        drop = nn.Dropout(self.dropout).train(self.training)
        return {
            "conv1": self.conv1,
            "conv1 dropped": drop,
            "conv2": self.conv2,
            "conv2 dropped": nn.Sequential(nn.Flatten(), drop),
            "fc3": self.fc3,
            "fc3 dropped": drop,
            "logits": self.logits,
        }

    def classifier(self, classes: int) -> "NashCNN":
        """Returns a classifier with the same layers and new weights from the caller's random state."""
        return NashCNN(self.shape, classes, dropout=self.dropout, **self.options)
