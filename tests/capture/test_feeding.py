"""Transforms that are random, or look at the whole batch, are found to be so."""

import numpy as np
import pytest
import torch

import infoplane
import tiny_study
import toy_networks
from infoplane.capture.feeding import dependence_of_transform

IMAGES, LABELS = tiny_study.images_and_labels()
GENERATOR = np.random.default_rng(0)


def scaled(x):
    return x.float() / 2


@pytest.mark.parametrize(
    ("transform", "names"),
    [
        (scaled, ""),
        (lambda x: {"x": scaled(x), "n": 3}, ""),
        (lambda x: scaled(x) - scaled(x).mean((1, 2, 3), keepdim=True), ""),
        (lambda x: scaled(x) + torch.randn_like(scaled(x)), "random"),
        (lambda x: scaled(x)[torch.randperm(len(x))], "companions random"),
        (lambda x: scaled(x) + float(GENERATOR.normal()), "random"),  # no seed is known of
        (lambda x: scaled(x) + float(np.random.normal()), "random"),
        (lambda x: (scaled(x) - scaled(x).mean()) / scaled(x).std(), "companions"),
        (lambda x: scaled(x) / scaled(x).amax().clamp(min=0.1), "companions"),
        (lambda x: torch.unique(scaled(x), dim=0), "companions"),
        (lambda x: scaled(x) + torch.arange(len(x))[:, None, None, None], "place"),
    ],
)
def test_what_a_transform_depends_on(transform, names):
    for images in (IMAGES, torch.from_numpy(IMAGES)):
        found = dependence_of_transform(transform, images)
        assert [name for name in ("companions", "random", "place") if getattr(found, name)] == names.split()


@pytest.mark.usefixtures("short")
def test_it_is_said_beside_the_numbers_and_drawn_anew(capsys):
    options = {**tiny_study.QUICK, "quiet": False, "kinds": ["nce"], "layers": ["fc"]}
    state = torch.get_rng_state()
    found = [
        infoplane.measure(
            toy_networks.build(), IMAGES, transform=lambda x: scaled(x) + torch.randn_like(scaled(x)), **options
        )
        for _ in range(2)
    ]
    assert torch.equal(torch.get_rng_state(), state)
    assert "layer 'fc' is random, drawn anew for every fit" in capsys.readouterr().err
    assert any("(in the transform)" in flag for flag in found[0]["fc"]["nce"].flags)
    assert found[0]._results.cell("capture").values["on_the_fly"] == ["fc"]
    assert found[0]["fc"]["nce"].value == found[1]["fc"]["nce"].value
