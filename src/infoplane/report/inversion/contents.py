"""What the page of a study of inversion is made of."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from infoplane.errors import in_words
from infoplane.measurements.numbers import INPUT, in_order
from infoplane.report.claimed import Difference
from infoplane.report.contents import PageContents, evenly

#: evaluation images, at most, whose pictures are shown
MOST_IMAGES = 24
#: checkpoints, at most, of which pictures are drawn
MOST_DRAWN = 8
#: and those before the last, at most, whose training curves are: they tell whether early densities were trained as well
MOST_TRAINED = 4


@dataclasses.dataclass(frozen=True, eq=False)
class LayerPictures:
    """What was drawn from one layer's activations of the P pictured images, at one checkpoint.

    Attributes:
        reconstructions: Images of least squared error, uint8 (P, C, H, W), or None.
        samples: S draws from q(x|h) for each, uint8 (P, S, C, H, W), or None.
    """

    reconstructions: np.ndarray | None = None
    samples: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """One layer.

    Attributes:
        name: The key that rows, differences and curves use.
        label: What the reader sees.
        shape: Shape of one example's activation.
        pictures: Checkpoint -> what was drawn from it there; "" stands for every checkpoint (latents).
        latent: Whether it is a known variable behind the images, studied as if it were a layer. No network
            computes it, so no step to or from it is spoken of.
        read_as: How its axes are read, in words, or "".
        spatial: Whether it is read as a map; None where that is not known.
        function_of: Names of the layers that it was found to be a function of; only of these is it said that it cannot
            hold more than they do.
    """

    name: str
    label: str
    shape: tuple[int, ...] = ()
    pictures: Mapping[str, LayerPictures] = dataclasses.field(default_factory=dict)
    latent: bool = False
    read_as: str = ""
    spatial: bool | None = None
    function_of: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingCurve:
    """How one density was trained. All losses are in nats per image; NaN where none was taken.

    Attributes:
        layer: Name of the layer it is conditioned on; "input" for p(x).
        refit: Which of the independent fits.
        updates: Number of updates at each point, (T,).
        train: Training loss, (T,), or empty.
        watched: Name of what it was followed on beside -> loss there, (T,).
        heldout: Loss on held-out images of the part that densities are trained on, (T,), or empty.
        heldout_ema: The same for the averaged weights, (T,), or empty.
        best_update: The update whose weights were kept.
        best: Which weights those are: "ema" for the averaged ones, anything else for the raw ones.
        checkpoint: Of the network under study; "" for p(x) and latents, which belong to none.
    """

    layer: str
    refit: int
    updates: np.ndarray
    train: np.ndarray
    heldout: np.ndarray
    heldout_ema: np.ndarray
    best_update: int = 0
    best: str = ""
    checkpoint: str = ""
    watched: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ReportContents(PageContents):
    """What the page of a study of inversion shows.

    Attributes:
        levels: Number of grey values of a pixel.
        inputs: The P pictured evaluation images, uint8 (P, C, H, W), or None.
        layers: The layers, from the input to the output.
        checkpoints: Checkpoints of the network under study in training order, update counts or names such as "end";
            empty: those of the numbers, as they come.
        counted: What the network's training is counted in: "updates", "epochs", or "checkpoints" if that is unknown.
        ages: Checkpoint -> how many of these, where its name does not say it.
        changes: What each number changes by from checkpoint to checkpoint: the rows of that table.
        source: What the images are called, or "".
        fit_on: Part of the split whose images densities were trained on.
        left_out: Kind of number -> why it is not given, of those that were asked for.
        readers: Sentences on which layers' numbers are read with another layer's density.
        label_entropy: Which H(y) label information is from, a sentence without its stop, or "".
        losses: Per layer ("input": p(x)) and checkpoint, a density's loss on the parts of the split. Keys: layer,
            checkpoint, refits; per part encoding, decoding and evaluation PART, PART_stderr and PART_n;
            bits_per_dimension and bits_per_dimension_stderr.
        null_samples: Samples of the null-context twin p(x), uint8 (S', C, H, W), or None.
        differences: Paired differences between layers. One from the first layer to the last, if there is one, carries
            the headline.
        curves: Training curves of the densities.
        candidates: K of the contrastive bound, whose ceiling is log K; None if unknown.
        classes: Number of classes, whose logarithm label information cannot exceed; None if unknown.
        each: How many samples were drawn for each pictured image; None if unknown.
    """

    counted: str = "updates"
    ages: Mapping[str, float] = dataclasses.field(default_factory=dict)
    differences: Sequence[Difference] = ()
    changes: Sequence[Mapping[str, Any]] = ()
    source: str = ""
    fit_on: str = "decoding"
    losses: Sequence[Mapping[str, Any]] = ()
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    readers: Sequence[str] = ()
    label_entropy: str = ""
    levels: int = 256
    inputs: np.ndarray | None = None
    layers: Sequence[Layer] = ()
    checkpoints: Sequence[str] = ()
    null_samples: np.ndarray | None = None
    curves: Sequence[TrainingCurve] = ()
    candidates: int | None = None
    classes: int | None = None
    each: int | None = None

    @property
    def names(self) -> list[str]:
        """The names of the layers, from the input to the output."""
        return [layer.name for layer in self.layers]

    @property
    def dimensions(self) -> int | None:
        """Number of values of an image, if that is known."""
        return None if self.inputs is None else int(np.prod(self.inputs.shape[1:]))

    @property
    def pictured(self) -> list[str]:
        """The checkpoints at which something was drawn, in training order; none where only latents were."""
        found = (checkpoint for layer in self.layers for checkpoint in layer.pictures if checkpoint)
        return in_order(found, self.checkpoints)

    @property
    def shown(self) -> list[str]:
        """Those of them whose pictures are shown: a page of hundreds would be neither read nor opened."""
        return evenly(self.pictured, MOST_DRAWN)

    @property
    def shown_inputs(self) -> np.ndarray | None:
        """Those evaluation images whose pictures are shown, for the same reason."""
        return None if self.inputs is None else self.inputs[:MOST_IMAGES]

    def label(self, name: str) -> str:
        """Returns what the reader calls the layer `name`."""
        if name == INPUT:
            return "no layer, p(x)"
        return next((layer.label for layer in self.layers if layer.name == name), name)

    def spoken(self, name: str) -> str:
        """Returns the same as a sentence has it."""
        return in_words(self.label(name))
