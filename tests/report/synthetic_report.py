"""A made-up study on real digits, complete enough to fill every part of the page."""

import dataclasses
import functools
import itertools
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from infoplane.report.inversion.contents import Layer, LayerPictures, ReportContents, TrainingCurve
from table_rows import differences_of, numbers_of

NAMES = ("conv1", "conv2", "fc3", "logits")
USABLE = {"conv1": (34.90, 0.67), "conv2": (11.78, 0.52), "fc3": (5.60, 0.41), "logits": (5.53, 0.43)}
UNCONDITIONAL = (78.63, 0.65)
HOSTILE = "<script>alert(1)</script>&\"'"


@functools.cache
def digits() -> np.ndarray:
    """Returns (N, 1, 8, 8) images of 17 levels."""
    return load_digits().images.astype(np.uint8)[:, None]


def _pictures(layer: int, pictured: int = 6, samples: int = 8) -> LayerPictures:
    images = digits()
    rng = np.random.default_rng(layer)
    inputs = images[:pictured].astype(float)
    others = images[rng.integers(100, 1000, (pictured, samples))].astype(float)
    mixed = inputs[:, None] * (1 - layer / 4) + others * layer / 4
    return LayerPictures(mixed.mean(axis=1).astype(np.uint8), mixed.astype(np.uint8))


def row(layer: str, kind: str, value: float, stderr: float | None, **other: Any) -> dict[str, Any]:
    """Returns one tidy row."""
    return {
        "layer": layer, "checkpoint": "end", "refit": "all", "kind": kind, "value": value, "stderr": stderr,
        "unit": "nats", "direction": "none", "n": 297, "refits": 3, "flags": "", **other,
    }  # fmt: skip


def rows() -> list[dict[str, Any]]:
    """Returns the tidy results of every kind."""
    found = [row("", "accuracy", 0.973, 0.0094, unit="fraction", refits=1)]
    found.append(row("input", "cross-entropy", *UNCONDITIONAL, direction="upper"))
    for depth, (name, (value, stderr)) in enumerate(USABLE.items()):
        nce = value - UNCONDITIONAL[0]
        found.append(row(name, "cross-entropy", -nce, 0.7, direction="upper"))
        found.append(row(name, "nce", nce, 0.7, direction="lower"))
        found.append(row(name, "usable", value, stderr))
        for refit in range(3):
            off = (refit - 1) * 0.8 * stderr
            found.append(row(name, "usable", value + off, 0.3, refit=refit, refits=1))
            found.append(row(name, "nce", nce + off, 0.6, direction="lower", refit=refit, refits=1))
        flags = "saturated: near the ceiling log 64" if depth < 2 else ""
        contrastive, error = (4.15, 4.11, 3.26, 2.9)[depth], 0.011 * (1 + depth) ** 1.5
        found.append(row(name, "contrastive", contrastive, error, direction="lower", flags=flags, n=4))
        found.append(row(name, "label", (1.91, 2.08, 2.17, 2.15)[depth], 0.04, direction="lower", refits=1))
        found.append(row(name, "mse", (0.0021, 0.0124, 0.0312, 0.0329)[depth], 0.0004, unit="squared error"))
    return found


def differences() -> list[dict[str, Any]]:
    """Returns two falls, a tie and the way from the first layer to the last."""
    pairs = [
        ("conv1", "conv2", 0.52, 2.6, 1e-4),
        ("conv2", "fc3", 0.44, 3.1, 6e-4),
        ("fc3", "logits", 0.19, 2.4, 0.73),
        ("conv1", "logits", 0.41, 2.8, 1e-5),
    ]
    return [
        {"first": first, "second": second, "kind": "usable", "value": USABLE[first][0] - USABLE[second][0],
         "stderr": stderr, "dof": dof, "p": p}
        for first, second, stderr, dof, p in pairs
    ]  # fmt: skip


def curve(layer: str, refit: int, floor: float) -> TrainingCurve:
    """Returns a training curve that falls to `floor` nats."""
    updates = np.arange(20, 1520, 20)
    rng = np.random.default_rng(refit)
    fall = floor + 90 * np.exp(-updates / 60) + 14 * np.exp(-updates / 420)
    heldout = fall + 1.5 + rng.normal(0, 0.6, len(updates))
    ema = fall + 1.0 + np.clip(updates - 1100, 0, None) * 0.003
    best = int(updates[np.argmin(ema)])
    return TrainingCurve(layer, refit, updates, fall - 1 + rng.normal(0, 1.3, len(updates)), heldout, ema, best, "ema")


def contents(**changes: Any) -> ReportContents:
    """Returns the whole study, with some of its fields replaced."""
    shapes = ((32, 3, 3), (32, 2, 2), (128,), (10,))
    drawn = [_pictures(depth) for depth in range(1, 5)]
    layers = [
        Layer(name, name, shape, {"end": pictures}, function_of=tuple(NAMES[:depth]))
        for depth, (name, shape, pictures) in enumerate(zip(NAMES, shapes, drawn))
    ]
    floors = {name: UNCONDITIONAL[0] - USABLE[name][0] for name in NAMES} | {"input": UNCONDITIONAL[0]}
    full = ReportContents(
        title="What each layer of a digit classifier keeps",
        description="A small convolutional network was trained on 600 handwritten digits of 8 × 8 pixels. "
        "Densities q(x|h) were fitted to 900 others, and measured on 297 that neither had seen.",
        note="A laptop run: so few images make loose bounds. The real one is on MNIST.",
        levels=17,
        inputs=digits()[:6],
        layers=layers,
        null_samples=digits()[200:248],
        numbers=numbers_of(rows()),
        differences=differences_of(differences()),
        tests=4,
        curves=[curve(name, refit, floor) for name, floor in floors.items() for refit in range(3)],
        settings="title: digits\ndata: {name: digits}\nlayers: [conv1, conv2, fc3, logits]\n",
        seeds="study 0; refits 1, 2, 3",
        versions={"infoplane": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"},
        times=[("subject", 12.4), ("capture", 0.9), ("densities", 171.0), ("samples", 38.2)],
        machine="2 cores, x86_64, Linux",
        total_seconds=233.0,
        peak_memory_mb=812.4,
        sanity=["Shuffled contexts give −0.3 ± 0.5 nats of usable information, as they should: none."],
        candidates=64,
        classes=10,
    )
    return dataclasses.replace(full, **changes)


CHECKPOINTS = ("0", "100", "1000", "end")


def through_training(**changes: Any) -> ReportContents:
    """Returns a study of four checkpoints, which "end" is the last of, in colour and with every kind of flaw.

    The middle layer has no numbers at checkpoint 100, and the network's name for it is hostile.
    """
    names = ("conv1", HOSTILE, "logits")
    found = [row("input", "cross-entropy", 700.0, 2.0, direction="upper", checkpoint="")]
    steps = []
    for when, checkpoint in enumerate(CHECKPOINTS):
        found.append(row("", "accuracy", 0.2 * (1 + when), 0.01, unit="fraction", refits=1, checkpoint=checkpoint))
        kept = {name: 90.0 - 25 * depth + 7 * when for depth, name in enumerate(names)}
        for name, value in kept.items():
            if (name, checkpoint) == (HOSTILE, "100"):
                continue
            at = {"checkpoint": checkpoint}
            found.append(row(name, "usable", value, 1.5, **at))
            found.append(row(name, "nce", value - 700, 2.0, direction="lower", **at))
            found.append(row(name, "contrastive", 4.158883, 0.0, direction="lower", n=6, **at))
        steps += [
            {"first": first, "second": second, "kind": "nce", "value": kept[first] - kept[second], "stderr": 1.0,
             "dof": 4.0, "p": 1e-4, "refits": 3, "checkpoint": checkpoint}
            for first, second in (*itertools.pairwise(names), (names[0], names[-1]))
        ]  # fmt: skip
    layers = [
        Layer(
            name,
            name,
            (16, 4, 4),
            {at: colour_pictures(10 * depth + when) for when, at in enumerate(CHECKPOINTS)},
            function_of=tuple(NAMES[:depth]),
        )
        for depth, name in enumerate(names)
    ]
    full = ReportContents(
        title="Through training",
        inputs=colour_pictures(100).reconstructions,
        layers=layers,
        checkpoints=CHECKPOINTS,
        null_samples=colour_pictures(101, pictured=16).reconstructions,
        numbers=numbers_of(found, CHECKPOINTS),
        differences=differences_of(steps),
        tests=len(steps),
        curves=[dataclasses.replace(curve(name, 0, 60.0), checkpoint=at) for name in names for at in ("100", "end")],
        candidates=64,
    )
    return dataclasses.replace(full, **changes)


def colour_pictures(seed: int, pictured: int = 3, samples: int = 8) -> LayerPictures:
    """Returns random pictures of 256 levels and three channels."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, 256, (pictured, 1 + samples, 3, 6, 6), dtype=np.uint8)
    return LayerPictures(drawn[:, 0], drawn[:, 1:])
