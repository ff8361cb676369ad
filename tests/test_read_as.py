"""How layers are read, from `measure` to the page: what is projected, guessed or said by the user."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from infoplane import measure
from infoplane.capture import Reading
from infoplane.errors import UsageError


class Net(nn.Module):
    """A convolution, the same with its channels last, a wide layer, and tokens that lie nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last, self.odd = nn.Conv2d(1, 4, 3, padding=1), nn.Identity(), nn.Identity()
        self.wide, self.out = nn.Linear(64, 90), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        self.last(h.permute(0, 2, 3, 1))
        self.odd(self.wide(h.flatten(1)).unflatten(1, (9, 10)))
        return self.out(h.mean((2, 3)))


@pytest.mark.slow
def test_from_measure_to_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr("infoplane.capture.layout.MAX_CONTEXT", 89)
    monkeypatch.setattr("infoplane.capture.layout.DIRECTIONS", 20)
    images = np.random.default_rng(0).integers(0, 3, (40, 1, 4, 4), dtype=np.uint8)
    torch.manual_seed(0)
    options = {
        "levels": 3,
        "budget": 1,
        "refits": 1,
        "workers": 0,
        "quiet": True,
        "density": "pixelcnn",
        "out": tmp_path / "run",
    }
    layers = ["conv", "last", "wide", "odd", "out"]
    model = Net()
    profile = measure(model, images, layers=layers, read_as={"out": "vector"}, **options)
    # The same values, so the same numbers, to the last digit.
    for kind in ("nce", "usable", "contrastive", "mse"):
        assert profile["conv"].get(kind) == profile["last"].get(kind)
    for kind in ("nce", "usable"):
        flags = "; ".join(profile["wide"][kind].flags)
        assert "of a projection: this layer is read as vector of 90, projected onto 20 of 90 directions" in flags
        assert "lie is a guess" in "; ".join(profile["odd"][kind].flags)
        assert "projection" not in "; ".join(profile["conv"][kind].flags)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "read as map 4×4×4, channels last" in page
    assert "read as vector of 90, projected onto 20 of 90 directions" in page
    # The stored density, scoring and sampling, sees the same projection.
    assert profile.log_prob("wide", images[:3], given=images[:2]).shape == (2, 3)
    with pytest.raises(UsageError, match="unknown layer in read_as; received 'conv9'"):
        measure(model, images, layers=layers, read_as={"conv9": "chw"}, **options)


def test_what_is_stored_is_the_reading():
    reading = Reading((9, 10), (0,), (2, 4), 1)
    assert Reading.from_json(reading.to_json()).context == (20, 2, 4)
