"""Studies of noisy networks so small that all of them runs in seconds."""

from pathlib import Path

from infoplane.study.load import load_study
from infoplane.study.noisy_spec import NoisySpec

#: two networks of two layers on a spiral of forty inputs
SPIRAL = """
kind: flow
title: Tiny spiral
data: {name: spiral, options: {inputs: 40, turns: 0.7}}
network: {widths: [2, 1], activation: tanh, beta: 0.1, gain: 2.0}
train: {epochs: 20, batch: 8, learning_rate: 0.2, checkpoints: [0, 2, 7]}
networks:
  plain: {}
  deterministic: {network.beta: null, bins: [0.01, 0.5]}
estimate: {samples: 1600, queries: 200, repeats: 3}
marked: [0, 6]
"""

#: a chain of single units, whose information is known by quadrature
CHAIN = """
kind: flow
title: Tiny chain
data: {name: pair}
network: {widths: [1, 1], activation: leaky, beta: 0.05, read_out: false, start: [[0.3, -1.0], [1.5, 0.1]]}
train: {epochs: 20, learning_rate: 0.01, loss: mse, checkpoints: [0, 5, 20]}
estimate: {samples: 800, queries: 400, repeats: 2, exact: true}
marked: [0]
sweep: {weights: [0.1, 2.0], count: 3, betas: [0.1, 0.5], bias_per_weight: -4.0}
scales:
  laptop: {train.epochs: 20}
"""


def write(folder: Path, text: str, name: str = "flow") -> Path:
    """Writes a study into a folder and returns its path."""
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, text: str, changes: dict | None = None, name: str = "flow") -> NoisySpec:
    """Returns a study, with changes by dotted path."""
    spec = load_study(str(write(folder, text, name)), changes)
    assert isinstance(spec, NoisySpec)
    return spec
