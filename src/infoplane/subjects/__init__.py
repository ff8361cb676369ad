"""Networks under study and their training."""

from torch import nn

from infoplane.subjects.nash_cnn import NashCNN
from infoplane.subjects.noisy import NoisyNetwork
from infoplane.subjects.train import Trained, TrainSettings, correct, train_classifier

#: name in a study -> class, built with (shape, classes, **options)
REGISTRY: dict[str, type[nn.Module]] = {"nash-cnn": NashCNN}

__all__ = ["REGISTRY", "NashCNN", "NoisyNetwork", "TrainSettings", "Trained", "correct", "train_classifier"]
