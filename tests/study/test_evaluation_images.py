"""Evaluation images choose nothing: with others in their place the same is fitted, to the last digit."""

from pathlib import Path

import numpy as np
import pytest
import torch

from infoplane.engine.plan import Plan
from infoplane.engine.store import Store
from infoplane.study.execute import execute
from tiny_study import LEVELS, images_and_labels, tiny

WINDOW = {"kind": "autoregressive", "width": 8, "up": 2, "side": 2, "pixels": 4}

FIT = {"updates": 3, "evaluations": 2, "refits": 2, "warm_start": "early", "trial_updates": 2}


def ran(folder: Path, images: np.ndarray, density: dict) -> tuple[Plan, Store]:
    """Runs the tiny study on these images."""
    folder.mkdir()
    measured = ["nce", "usable", "contrastive", "label", "mse"]
    spec = tiny(folder, density=density, measure=measured, fit=FIT)
    np.savez(folder / "tiny.npz", images=images, labels=images_and_labels()[1], levels=LEVELS)
    execute(spec, folder / "run", workers=0, quiet=True)
    return Plan.load(folder / "run"), Store(folder / "run" / "cells")


@pytest.mark.parametrize("density", [WINDOW, {"kind": "auto"}], ids=["window", "auto"])
def test_other_evaluation_images_change_no_fit(tmp_path, density):
    images, _ = images_and_labels()
    plan, store = ran(tmp_path / "first", images, density)
    evaluation = store.load(plan.name("data")).array("evaluation")
    others = images.copy()
    others[evaluation] = np.random.default_rng(5).integers(0, LEVELS, others[evaluation].shape)
    again, later = ran(tmp_path / "second", others, density)
    assert (later.load(again.name("data")).array("evaluation") == evaluation).all()
    compared = 0
    for role, name in plan.roles.items():
        one, other = store.load(name), later.load(again.roles[role])
        if role[0] in ("density", "candidate"):
            # What is scored differs, or nothing would have been exchanged.
            if role[0] == "density":
                assert (one.array("log_probs") != other.array("log_probs")).any()
                weights, same = one.weights("density"), other.weights("density")
                assert all(torch.equal(value, same[key]) for key, value in weights.items())
            assert one.values["curve"] == other.values["curve"]
            compared += 1
        elif role[0] == "choice":
            assert one.values == other.values
        elif role[0] == "mse":
            assert one.values["curve"] == other.values["curve"]
    assert compared >= 8  # two refits of p(x), its base, and two layers
