"""Networks to measure, as a user's own module would have them: copied beside the user's data by the tests."""

import dataclasses
import hashlib
from collections import OrderedDict

import torch
from torch import nn


class Toy(nn.Module):
    """Classifies 1×4×4 images into 3 classes; one submodule is frozen in evaluation mode, as users do."""

    def __init__(self, channels=1, size=4, classes=3):
        super().__init__()
        self.conv = nn.Conv2d(channels, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.frozen = nn.Dropout(0.5)
        self.fc = nn.Linear(2 * (size - 2) ** 2, classes)

    def forward(self, x):
        return self.fc(self.frozen(self.norm(self.conv(x)).relu()).flatten(1))


def build(**options):
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = Toy(**options)
    model.train()
    model.frozen.eval()
    return model


class Constant(nn.Module):
    """The same activation for every image."""

    def forward(self, x):
        return torch.full((len(x), 5), 0.3)


class Noise(nn.Module):
    """Noise that has nothing to do with the image's content but is the same whenever the image is."""

    def forward(self, x):
        rows = []
        for image in x:
            digest = hashlib.sha256(image.contiguous().numpy().tobytes()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
            rows.append(torch.randn(3, generator=generator))
        return torch.stack(rows)


class Independent(nn.Module):
    """Two layers that know nothing of the image."""

    def __init__(self):
        super().__init__()
        self.constant, self.noise = Constant(), Noise()

    def forward(self, x):
        return self.constant(x), self.noise(x)


class Restless(nn.Module):
    """Draws noise and counts its calls in a buffer, in evaluation mode too; returns a mapping with logits."""

    def __init__(self):
        super().__init__()
        self.body = build()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, pixels):
        self.calls += 1
        hidden = self.body(pixels + 0.01 * torch.randn_like(pixels))
        return OrderedDict(logits=hidden, hidden=hidden * 2)


@dataclasses.dataclass
class Answer:
    logits: torch.Tensor
    hidden: torch.Tensor


class Answering(nn.Module):
    """Returns a dataclass with logits."""

    def __init__(self):
        super().__init__()
        self.body = build()

    def forward(self, x):
        logits = self.body(x)
        return Answer(logits, logits)


class Painter(nn.Module):
    """No classifier: its output is an image."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x):
        return self.conv(x)


class Exploding(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 3)

    def forward(self, x):
        return self.fc(x.flatten(1)) / 0.0


def raises():
    raise ValueError("no\nweights here")


def gives_nothing():
    return None


number = 3
network = build()


def to_signs(images):
    return images.float() - 1


def bad_transform(images):
    raise RuntimeError("cannot\ndo this")
