"""Networks under study and their training."""

from torch import nn

from infoplane.calls import public
from infoplane.registry import Registry
from infoplane.subjects.dense import DenseSettings, dense, orthonormality_step
from infoplane.subjects.forward import Forward, decode_labels, head, label_log_probs, tail
from infoplane.subjects.nash_cnn import NashCNN
from infoplane.subjects.noisy import LayeredNetwork, NoisyNetwork
from infoplane.subjects.points import POINTS, Points
from infoplane.subjects.resnet import ResNet21, ResNetAutoencoder
from infoplane.subjects.train import Trained, TrainSettings, correct, train_classifier
from infoplane.subjects.train_epochs import EpochSettings, Objective, TrainedEpochs, train_epochs
from infoplane.subjects.train_noisy import Descent, DescentSettings, descend

#: name in a study -> class, built with (shape, classes, **options)
REGISTRY: Registry[type[nn.Module]] = Registry(
    "kind of network",
    "infoplane.subjects",
    {"nash-cnn": NashCNN, "resnet-classifier": ResNet21, "resnet-autoencoder": ResNetAutoencoder},
    fits=lambda found: isinstance(found, type) and issubclass(found, nn.Module),
    legal="a subclass of torch.nn.Module, made with (shape, classes, **options)",
)


def settings_of(kind: str) -> type[TrainSettings] | type[EpochSettings]:
    """Returns how a kind of network is trained: by updates, unless its class says by epochs."""
    return getattr(REGISTRY[kind], "settings", TrainSettings)


def objective_of(kind: str) -> Objective:
    """Returns what a kind of network is trained for: its labels, unless its class says otherwise."""
    return getattr(REGISTRY[kind], "objective", "cross-entropy")


__all__ = [
    "POINTS",
    "REGISTRY",
    "DenseSettings",
    "Descent",
    "DescentSettings",
    "EpochSettings",
    "Forward",
    "LayeredNetwork",
    "NashCNN",
    "NoisyNetwork",
    "Points",
    "ResNet21",
    "ResNetAutoencoder",
    "TrainSettings",
    "Trained",
    "TrainedEpochs",
    "correct",
    "decode_labels",
    "dense",
    "descend",
    "head",
    "label_log_probs",
    "objective_of",
    "orthonormality_step",
    "settings_of",
    "tail",
    "train_classifier",
    "train_epochs",
]

public(globals(), __all__)
