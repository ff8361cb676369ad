"""Networks under study and their training."""

from torch import nn

from infoplane.subjects.dense import DenseSettings, dense, orthonormality_step
from infoplane.subjects.forward import Forward, decode_labels, head, label_log_probs, tail
from infoplane.subjects.nash_cnn import NashCNN
from infoplane.subjects.noisy import LayeredNetwork, NoisyNetwork
from infoplane.subjects.points import POINTS, Points
from infoplane.subjects.resnet import ResNet21, ResNetAutoencoder
from infoplane.subjects.train import Trained, TrainSettings, correct, train_classifier
from infoplane.subjects.train_epochs import EpochSettings, TrainedEpochs, train_epochs
from infoplane.subjects.train_noisy import Descent, DescentSettings, descend

#: name in a study -> class, built with (shape, classes, **options)
REGISTRY: dict[str, type[nn.Module]] = {
    "nash-cnn": NashCNN,
    "resnet-classifier": ResNet21,
    "resnet-autoencoder": ResNetAutoencoder,
}

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
    "orthonormality_step",
    "tail",
    "train_classifier",
    "train_epochs",
]
