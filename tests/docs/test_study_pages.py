"""What a study's page says of its conditions is what its file says."""

from pathlib import Path

import pytest

from infoplane.measurements.candidates import AUTO, CANDIDATES
from infoplane.study.load import load_study

PAGE = Path(__file__).parents[2] / "docs" / "studies" / "nash-layers.md"


def condition(row: str, scale: str) -> str:
    """The cell of a row of the conditions' table."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    head = next(line for line in lines if "`--scale paper`" in line)
    column = [cell.strip() for cell in head.split("|")].index(f"`--scale {scale}`")
    return next(line for line in lines if line.startswith(f"| {row}")).split("|")[column]


def spoken(rate: float) -> str:
    """A learning rate as the page has it."""
    return f"{rate:.1e}".replace(".0e", "e").replace("e-0", "e-")


@pytest.mark.parametrize("scale", ["paper", "laptop"])
def test_the_conditions_of_nash_layers_are_those_of_its_file(scale):
    spec = load_study("nash-layers", scale=scale)
    colour = load_study("nash-layers", {"data.name": "cifar10"}, scale=scale)
    subset = load_study("nash-layers", {"data.name": "cifar10_exact_subset"}, scale=scale)
    fit = spec.fit
    tried = [{kind: make(shape, 256) for kind, make in CANDIDATES.items()} for shape in ((1, 14, 14), (3, 16, 16))]
    training = condition("its training", scale)
    ways = (fit.batch, fit.learning_rate), (colour.fit.batch, colour.fit.learning_rate)
    if spec.density.kind == AUTO:  # counted in updates of the first candidate, which brings how it is trained
        ways = tuple((each.batch, each.learning_rate) for each in (made["window"] for made in tried))
    assert f"{fit.updates:,} updates of {ways[0][0]} images" in training
    assert f"Adam {spoken(ways[0][1])}" in training
    if ways[1] != ways[0]:
        assert f"in colour {spoken(ways[1][1])}" in training
    assert f"the best of {fit.evaluations} looks at a held-out {100 * fit.held_out:.0f} %" in training
    assert f"{fit.ema:g}" in training
    if colour.fit.updates != fit.updates:
        assert colour.fit.warm_start == "early"
        assert (
            f"in colour {colour.fit.updates} after {colour.fit.base_updates} that all fits of a refit share" in training
        )
    if subset.fit.held_out != colour.fit.held_out:
        assert f"({100 * subset.fit.held_out:.0f} % of the subset)" in training
    if scale == "laptop":
        words = condition("density", scale)
        for made in tried:
            other = made["pixelcnn"]
            density = other.density
            layers, scales = density["residual_layers"], density["scales"]
            assert f"{layers} residual layers, {scales} scales, {density['filters']} filters" in words
            assert ("no weight normalisation" in words) == (not density["weight_norm"])
            assert density["head"] == "logistic"
            assert f"{density['mixtures']} logistics" in condition("likelihood", scale)
            assert f"of {other.batch} images at {spoken(other.learning_rate)}" in training
            assert f"dropout {density['dropout']:g}" in training
        assert f"{spec.data.evaluation:,} for evaluation" in condition("split", scale)
    else:
        for each in (spec, colour, subset):
            sizes = (each.data.encoding, each.data.decoding, each.data.evaluation)
            assert ", ".join(f"{size:,}" for size in sizes) in condition("split", scale)
    assert spec.subject is not None
    train = spec.subject.train
    if train.patience is not None:
        assert f"stops after {train.patience} looks, {train.evaluate_every} updates apart" in condition(
            "training", scale
        )
    else:
        assert f"{train.updates:,} updates at {train.learning_rate:.0e}".replace("e-0", "e-") in condition(
            "training", scale
        )
