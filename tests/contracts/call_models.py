"""Public functions of networks, densities and their training, with good arguments; see test_public_calls.py."""

import torch
from call_goods import (
    ACTS,
    CLASSES,
    CONTEXT,
    IMAGES,
    LABELS,
    LEVELS,
    SHAPE,
    TINY,
    N,
    always,
    context,
    density,
    drawn,
    given,
    images,
    network,
    pairs,
    scaled,
    staged,
    tensor_labels,
)
from call_inputs import Call
from torch import nn

import infoplane
from infoplane import capture, densities, inversion, subjects

#: pydantic's own leniency in Python, which files do not have; a bool or a text may be a number
AS_PYDANTIC = [(name, bad) for name in ("updates", "learning_rate") for bad in ("text", "bool", "numpy's")]
TENSOR = [("example", "tensor")]
#: other weights at every call
NEW_WEIGHTS = [("shape", "list"), ("classes", "numpy's"), ("classes", "huge")]


def measured(**arguments):
    """As `measure`, which gets as far as its budget with all that can be used."""
    try:
        infoplane.measure(**arguments)
    except infoplane.InfoplaneError as error:
        if "budget" not in str(error):
            raise
    return "taken"


def fitted(model, pairs, held_out, settings, seed):
    inversion.fit(model, inversion.NegativeLogProb(model), pairs, held_out, settings, seed=seed)
    return model


def fitted_together(density, pairs, settings, seed):
    return inversion.fit_shared({"a": density}, {"a": pairs}, {"a": pairs}, settings, seed=seed)


def entered(seed):
    with capture.seeded(seed):
        return torch.rand(1)


def noisy(beta, layer):
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return subjects.NoisyNetwork([nn.Linear(5, 2), nn.Linear(2, 2)], beta).hidden(context(), layer)


def example() -> torch.Tensor:
    return scaled(images())


def seeded_reconstructor() -> inversion.Reconstructor:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return inversion.Reconstructor(SHAPE, (5,), filters=2)


def likelihood(made):
    def features() -> torch.Tensor:
        return torch.from_numpy(drawn(N, 3, *SHAPE[1:])).float()

    def call(features, images, temperature):
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            own = made(3, 1, LEVELS)
            return own.log_prob(features, images), own.sample(features, torch.Generator().manual_seed(0), temperature)

    kept = [("features", name) for name in ("swapped", "half", "bfloat16", "double")]
    return [
        given(
            call,
            {"features": ACTS, "images": IMAGES, "temperature": "positive"},
            features=features,
            images=images,
            temperature=always(1.0),
            spared=[*kept, ("images", "swapped")],
        ),
        given(
            made,
            {"features": "whole", "channels": "whole", "levels": "whole"},
            features=always(3),
            channels=always(1),
            levels=always(LEVELS),
            spared=[(name, "numpy's") for name in ("features", "channels", "levels")],
        ),
    ]


#: package -> exported name -> calls with bad inputs
MODELS: dict[str, dict[str, list[Call]]] = {
    "infoplane": {
        "list_layers": [
            given(
                capture.list_layers,
                {"model": "thing", "example": "thing"},
                model=network,
                example=lambda: scaled(images()),
                spared=[("example", "tensor")],
            )
        ],
        "measure": [
            given(
                measured,
                {
                    "images": IMAGES,
                    "labels": LABELS,
                    "layers": "names",
                    "refits": "whole",
                    "seed": "whole",
                    "workers": "whole",
                },
                model=network,
                images=images,
                labels=tensor_labels,
                layers=always(["1"]),
                refits=always(1),
                seed=always(3),
                budget=always("nonsense"),
                workers=always(1),
                levels=always(LEVELS),
                quiet=always(True),
            )
        ],
        "Estimate": [
            given(
                infoplane.Estimate,
                {"value": "positive", "stderr": "positive", "n": "whole", "dof": "positive"},
                value=always(1.0),
                stderr=always(1.0),
                n=always(3),
                dof=always(3.0),
                spared=[
                    ("value", "negative"),
                    ("value", "zero"),
                    ("stderr", "none"),
                    ("stderr", "zero"),
                    ("dof", "inf"),
                    ("n", "huge"),
                ],
            )
        ],
        "PixelCNN": [
            given(
                infoplane.PixelCNN,
                {"shape": "sizes", "levels": "whole", "filters": "whole", "likelihood": "name", "dropout": "positive"},
                shape=always(SHAPE),
                levels=always(LEVELS),
                filters=always(2),
                residual_layers=always(1),
                scales=always(1),
                likelihood=always("categorical"),
                dropout=always(0.25),
                spared=[
                    ("dropout", "zero"),
                    ("levels", "numpy's"),
                    ("filters", "numpy's"),
                    ("dropout", "numpy's"),
                    ("shape", "list"),
                ],
            )
        ],
    },
    "inversion": {
        "Pairs": [
            given(
                lambda **made: inversion.Pairs(**made).batch(slice(0, N)),
                {"images": IMAGES, "context": CONTEXT},
                images=images,
                context=context,
                spared=[
                    ("images", "beyond"),
                    ("images", "negative"),
                    ("images", "channels"),
                    ("context", "none"),
                    ("context", "one unit"),
                    ("context", "function"),
                ],
            )
        ],
        "Standardiser": [
            given(
                lambda mean, std: inversion.Standardiser(mean, std)(context()),
                {"mean": ACTS},
                mean=lambda: context()[0],
                std=lambda: torch.ones(5),
                spared=[("mean", "swapped")],
            ),
            given(
                lambda chunk: inversion.Standardiser.of([chunk]).mean,
                {"chunk": ACTS},
                chunk=context,
                spared=[("chunk", "swapped")],
            ),
            given(
                lambda z: inversion.Standardiser.of([context()]).inverse(z),
                {"z": CONTEXT},
                z=context,
                spared=[("z", "nan"), ("z", "inf"), ("z", "minus inf"), ("z", "one row less"), ("z", "nothing")],
            ),
            given(inversion.Standardiser.of, {"chunks": "thing"}, chunks=lambda: [context()]),
            given(
                lambda h: inversion.Standardiser.of([context()])(h),
                {"h": CONTEXT},
                h=context,
                spared=[("h", "nan"), ("h", "inf"), ("h", "minus inf"), ("h", "one row less"), ("h", "nothing")],
            ),
        ],
        "NegativeLogProb": [given(inversion.NegativeLogProb, {"density": "thing"}, density=density)],
        "SquaredError": [
            given(
                lambda model, levels, images, context: inversion.SquaredError(model, levels)(images, context),
                {"model": "thing", "levels": "whole", "images": IMAGES, "context": CONTEXT},
                model=lambda: seeded_reconstructor(),
                levels=always(LEVELS),
                images=images,
                context=context,
                spared=[
                    ("images", "beyond"),
                    ("images", "negative"),
                    ("context", "nan"),
                    ("context", "inf"),
                    ("context", "minus inf"),
                ],
            )
        ],
        "Reconstructor": [
            given(
                inversion.Reconstructor,
                {"shape": "sizes", "filters": "whole"},
                shape=always(SHAPE),
                context=always((5,)),
                filters=always(2),
                spared=[("shape", "list"), ("filters", "numpy's")],
            ),
            given(
                lambda h, levels: seeded_reconstructor().reconstruct(h, levels),
                {"h": CONTEXT, "levels": "whole"},
                h=context,
                levels=always(LEVELS),
                spared=[("h", "one row less")],
            ),
        ],
        "cross_log_probs": [
            given(
                inversion.cross_log_probs,
                {"density": "thing", "pairs": "thing", "contexts": CONTEXT, "batch": "whole"},
                density=density,
                pairs=pairs,
                contexts=context,
                batch=always(8),
                spared=[("contexts", "one row less"), ("batch", "huge"), ("batch", "none")],
            )
        ],
        "log_probs": [given(inversion.log_probs, {"density": "thing", "pairs": "thing"}, density=density, pairs=pairs)],
        "losses_of": [
            given(
                inversion.losses_of,
                {"model": "thing", "loss": "thing", "pairs": "thing"},
                model=density,
                loss=always(lambda images, context: images.float().mean((1, 2, 3))),
                pairs=pairs,
            )
        ],
        "fit": [
            given(
                fitted,
                {"model": "thing", "pairs": "thing", "held_out": "thing", "settings": "thing", "seed": "whole"},
                model=density,
                pairs=pairs,
                held_out=pairs,
                settings=always(TINY),
                seed=always(3),
            )
        ],
        "fit_density": [
            given(
                inversion.fit_density,
                {"density": "thing", "pairs": "thing", "held_out": "thing", "settings": "thing", "seed": "whole"},
                density=density,
                pairs=pairs,
                held_out=pairs,
                settings=always(TINY),
                seed=always(3),
            )
        ],
        "fit_shared": [
            given(
                fitted_together,
                {"density": "thing", "pairs": "thing", "settings": "thing", "seed": "whole"},
                density=density,
                pairs=pairs,
                settings=always(TINY),
                seed=always(3),
            )
        ],
        "seconds_per_update": [
            given(
                inversion.seconds_per_update,
                {"settings": "thing", "model": "thing", "loss": "thing", "pairs": "thing"},
                settings=always(TINY),
                model=density,
                loss=always(None),
                pairs=pairs,
                held_out=pairs,
            )
        ],
        "trunk_of": [given(inversion.trunk_of, {"density": "thing"}, density=density)],
        "joined": [
            given(lambda device: inversion.joined(device).__enter__(), {"device": "name"}, device=always("auto"))
        ],
        "FitSettings": [
            given(
                inversion.FitSettings,
                {"updates": "whole", "learning_rate": "positive", "schedule": "name"},
                updates=always(3),
                learning_rate=always(0.5),
                schedule=always("linear"),
                spared=AS_PYDANTIC,
            )
        ],
    },
    "densities": {
        "Autoregressive": [
            given(
                densities.Autoregressive,
                {"shape": "sizes", "levels": "whole", "width": "whole", "trunk": "name", "dropout": "positive"},
                shape=always(SHAPE),
                levels=always(LEVELS),
                width=always(8),
                trunk=always("window"),
                dropout=always(0.25),
                spared=[
                    ("dropout", "zero"),
                    ("levels", "numpy's"),
                    ("width", "numpy's"),
                    ("width", "none"),
                    ("dropout", "numpy's"),
                    ("shape", "list"),
                ],
            ),
        ],
        "build": [
            given(
                densities.build,
                {"kind": "name", "shape": "sizes", "levels": "whole", "seed": "whole"},
                kind=always("pixelcnn"),
                shape=always(SHAPE),
                levels=always(LEVELS),
                context=always((5,)),
                options=always({"filters": 2, "residual_layers": 1, "scales": 1}),
                seed=always(3),
            )
        ],
        "Categorical": likelihood(densities.Categorical),
        "LogisticMixture": likelihood(densities.LogisticMixture),
        "log_bin_mass": [
            given(
                densities.log_bin_mass,
                {"mean": ACTS, "log_scale": ACTS, "levels": "whole", "index": LABELS},
                index=tensor_labels,
                mean=lambda: context()[:, 0],
                log_scale=lambda: context()[:, 1],
                levels=always(LEVELS),
                spared=[(name, bad) for name in ("mean", "log_scale") for bad in ("swapped", "half", "bfloat16")]
                + [("index", "column")],
            )
        ],
    },
    "capture": {
        "activations": [
            given(
                capture.activations,
                {"model": "thing", "layers": "names", "images": IMAGES, "batch_size": "whole"},
                model=network,
                layers=always(["1"]),
                images=images,
                transform=always(scaled),
                batch_size=always(4),
                spared=[("images", "beyond"), ("images", "negative"), ("batch_size", "huge")],
            )
        ],
        "recorded": [
            given(
                capture.recorded,
                {"model": "thing", "layers": "names"},
                model=network,
                layers=always(["1"]),
                batches=lambda: [images()],
                transform=always(scaled),
            )
        ],
        "at_once": [given(capture.at_once, {"inputs": "thing"}, inputs=example, spared=[("inputs", "tensor")])],
        "fired": [
            given(capture.fired, {"model": "thing", "example": "thing"}, model=network, example=example, spared=TENSOR)
        ],
        "as_taken": [
            given(
                capture.as_taken, {"model": "thing", "example": "thing"}, model=network, example=example, spared=TENSOR
            )
        ],
        "capture": [
            given(
                capture.capture,
                {"model": "thing", "layers": "names"},
                model=network,
                layers=always(["1"]),
                batches=lambda: [example()],
            )
        ],
        "check_pattern": [
            given(
                capture.check_pattern,
                {"layer": "name", "pattern": "name"},
                layer=always("1"),
                pattern=always("hwc"),
                spared=[("layer", "unknown")],
            )
        ],
        "default_transform": [given(capture.default_transform, {"levels": "whole"}, levels=always(LEVELS))],
        "dependence": [
            given(
                capture.dependence,
                {"model": "thing", "example": "thing"},
                model=network,
                example=example,
                spared=TENSOR,
            )
        ],
        "functions_of": [
            given(
                capture.functions_of,
                {"model": "thing", "layers": "names", "example": "thing"},
                model=network,
                layers=always(["1"]),
                example=example,
                spared=TENSOR,
            )
        ],
        "list_layers": [
            given(
                capture.list_layers,
                {"model": "thing", "example": "thing"},
                model=network,
                example=example,
                spared=TENSOR,
            )
        ],
        "readings_of": [
            given(
                capture.readings_of,
                {"model": "thing", "layers": "names", "example": "thing"},
                model=network,
                layers=always(["1"]),
                example=example,
                spared=TENSOR,
            )
        ],
        "model_input": [
            given(
                capture.model_input,
                {"transform": "thing", "images": "thing"},
                transform=always(scaled),
                images=images,
                spared=[("images", "tensor")],
            )
        ],
        "seeded": [given(entered, {"seed": "whole"}, seed=always(3))],
        "vector": [
            given(
                capture.vector,
                {"shape": "sizes"},
                shape=always((5,)),
                spared=[("shape", bad) for bad in ("short", "long", "list", "zero")],
            )
        ],
        "Reading": [
            given(
                lambda h: capture.vector((5,))(h),
                {"h": CONTEXT},
                h=context,
                spared=[("h", bad) for bad in ("nan", "inf", "minus inf", "one row less", "nothing")],
            )
        ],
        "Tap": [
            given(
                lambda model, layers: capture.Tap(model, layers)(example()),
                {"model": "thing", "layers": "names"},
                model=network,
                layers=always(["1"]),
            )
        ],
    },
    "subjects": {
        "train_classifier": [
            given(
                subjects.train_classifier,
                {"inputs": IMAGES, "labels": LABELS, "settings": "thing", "model": "thing", "seed": "whole"},
                model=network,
                inputs=images,
                labels=tensor_labels,
                validation_inputs=images,
                validation_labels=tensor_labels,
                settings=always(subjects.TrainSettings(updates=1, batch=4)),
                transform=always(scaled),
                seed=always(3),
                spared=[("inputs", bad) for bad in ("beyond", "negative", "floats", "channels", "no channels")],
            )
        ],
        "train_epochs": [
            given(
                subjects.train_epochs,
                {"model": "thing", "labels": LABELS, "settings": "thing", "seed": "whole", "objective": "name"},
                model=network,
                inputs=images,
                labels=tensor_labels,
                validation_inputs=images,
                validation_labels=tensor_labels,
                settings=always(subjects.EpochSettings(epochs=1, batch=4)),
                objective=always("cross-entropy"),
                transform=always(scaled),
                seed=always(3),
            )
        ],
        "correct": [
            given(
                subjects.correct,
                {"model": "thing", "labels": LABELS, "batch": "whole"},
                model=network,
                inputs=images,
                labels=tensor_labels,
                transform=always(scaled),
                batch=always(4),
                spared=[("batch", "huge"), ("labels", "beyond")],
            )
        ],
        "label_log_probs": [
            given(
                subjects.label_log_probs,
                {"model": "thing", "labels": LABELS},
                model=network,
                inputs=images,
                labels=tensor_labels,
                transform=always(scaled),
            )
        ],
        "head": [given(subjects.head, {"model": "thing", "layer": "name"}, model=staged, layer=always("conv1"))],
        "tail": [given(subjects.tail, {"model": "thing", "layer": "name"}, model=staged, layer=always("conv1"))],
        "settings_of": [given(subjects.settings_of, {"kind": "name"}, kind=always("nash-cnn"))],
        "objective_of": [given(subjects.objective_of, {"kind": "name"}, kind=always("nash-cnn"))],
        "NashCNN": [
            given(
                subjects.NashCNN,
                {"shape": "sizes", "classes": "whole"},
                shape=always((1, 8, 8)),
                classes=always(CLASSES),
                kernel=always(3),
                padding=always(1),
                spared=NEW_WEIGHTS,
            )
        ],
        "ResNet21": [
            given(
                subjects.ResNet21,
                {"shape": "sizes", "classes": "whole"},
                shape=always((1, 8, 8)),
                classes=always(CLASSES),
                filters=always((1, 1, 1)),
                blocks=always(1),
                pool=always(1),
                spared=NEW_WEIGHTS,
            )
        ],
        "ResNetAutoencoder": [
            given(
                subjects.ResNetAutoencoder,
                {"shape": "sizes"},
                shape=always((1, 8, 8)),
                filters=always((1, 1, 1)),
                blocks=always(1),
                pool=always(1),
                spared=NEW_WEIGHTS,
            )
        ],
        "NoisyNetwork": [given(noisy, {"beta": "positive", "layer": "whole"}, beta=always(0.5), layer=always(1))],
        "dense": [
            given(
                subjects.dense,
                {"settings": "thing", "inputs": "whole", "classes": "whole"},
                settings=always(subjects.DenseSettings(widths=(2,))),
                inputs=always(3),
                classes=always(2),
                generator=lambda: torch.Generator().manual_seed(0),
            )
        ],
        "orthonormality_step": [
            given(
                subjects.orthonormality_step,
                {"weight": "thing", "strength": "positive"},
                weight=lambda: torch.eye(3),
                strength=always(0.5),
                spared=[("weight", "tensor"), ("strength", "zero")],
            )
        ],
    },
}
