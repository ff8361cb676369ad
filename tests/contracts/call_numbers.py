"""Public functions of numbers, with good arguments and what each holds; see test_public_calls.py."""

from functools import cache

from call_goods import (
    ACTS,
    CLASSES,
    IMAGES,
    LABELS,
    LEVELS,
    LOGS,
    ROWS,
    K,
    N,
    R,
    always,
    drawn,
    given,
    images,
    labels,
    logs,
    more_logs,
)
from call_inputs import Call

from infoplane import claims, estimate, geometry, information
from infoplane.information.wide_probe import fit_wide_probe

#: the same numbers in other types have other bytes, and so other hashes
BYTES = [("rows", "half"), ("rows", "bfloat16"), ("rows", "nothing")]


@cache
def linear_probe():
    return information.fit_probe(drawn(N, 2), labels(), drawn(N, 2), labels(), classes=CLASSES)


@cache
def wide_probe():
    return fit_wide_probe(drawn(N, 2), labels(), drawn(N, 2), labels(), classes=CLASSES)


#: package -> exported name -> calls with bad inputs
NUMBERS: dict[str, dict[str, list[Call]]] = {
    "information": {
        "accuracy": [
            given(
                information.accuracy,
                {"correct": LABELS},
                correct=lambda: labels() % 2,
                spared=[("correct", "bool"), ("correct", "floats"), ("correct", "one less")],
            )
        ],
        "compression": [
            given(
                information.compression,
                {"validation": LOGS, "evaluation": LOGS},
                validation=logs,
                evaluation=lambda: drawn(R, N, 5),
                spared=[
                    ("evaluation", "deep"),
                    ("validation", "half"),
                    ("validation", "bfloat16"),
                    ("evaluation", "half"),
                    ("evaluation", "bfloat16"),
                    ("validation", "turned"),
                ],
            )
        ],
        "contrastive_batches": [
            given(
                information.contrastive_batches,
                {"images": "whole", "candidates": "whole", "batches": "whole"},
                images=always(400),
                candidates=always(8),
                batches=always(16),
                spared=[("images", "huge"), ("candidates", "huge"), ("batches", "huge")],
            )
        ],
        "contrastive_bound": [
            given(
                information.contrastive_bound,
                {"batches": LOGS, "candidates": "whole"},
                batches=logs,
                candidates=always(8),
                spared=[("batches", "turned"), ("candidates", "huge")],
            )
        ],
        "contrastive_terms": [
            given(
                information.contrastive_terms,
                {"scores": LOGS},
                scores=lambda: drawn(K, K),
                spared=[("scores", "turned"), ("scores", "minus inf")],
            )
        ],
        "count": [
            given(
                information.count,
                {"groups": LABELS},
                terms=logs,
                groups=labels,
                spared=[("groups", "beyond"), ("groups", "none"), ("groups", "negative")],
            )
        ],
        "cross_entropy": [
            given(
                information.cross_entropy,
                {"log_probs": LOGS, "groups": LABELS},
                log_probs=logs,
                groups=labels,
                spared=[("log_probs", "turned"), ("groups", "none"), ("groups", "beyond"), ("groups", "negative")],
            )
        ],
        "negative_cross_entropy": [
            given(
                information.negative_cross_entropy,
                {"log_probs": LOGS},
                log_probs=logs,
                spared=[("log_probs", "turned")],
            )
        ],
        "crossed_mean": [
            given(
                information.crossed_mean, {"terms": LOGS}, terms=logs, spared=[("terms", "turned"), ("terms", "column")]
            )
        ],
        "difference": [given(information.difference, {"first": LOGS, "second": LOGS}, first=logs, second=more_logs)],
        "usable_information": [
            given(information.usable_information, {"log_probs": LOGS, "null": LOGS}, log_probs=logs, null=more_logs)
        ],
        "fit_probe": [
            given(
                information.fit_probe,
                {"features": ACTS, "labels": LABELS, "held_features": ACTS, "held_labels": LABELS, "classes": "whole"},
                features=lambda: drawn(N, 2),
                labels=labels,
                held_features=lambda: drawn(N, 2),
                held_labels=labels,
                classes=always(CLASSES),
                spared=[("labels", "nothing"), ("classes", "huge")],
            ),
            *(
                given(
                    lambda probe, features, labels: probe.log_probs(features, labels),
                    {"features": ROWS, "labels": LABELS},
                    probe=probe,
                    features=lambda: drawn(N, 2),
                    labels=labels,
                )
                for probe in (linear_probe, wide_probe)
            ),
        ],
        "label_information": [
            given(
                information.label_information,
                {"log_probs": LOGS, "labels": LABELS, "classes": "whole"},
                log_probs=logs,
                labels=labels,
                classes=always(CLASSES),
                spared=[("classes", "huge")],
            )
        ],
        "one_of_each": [
            given(
                information.one_of_each,
                {"groups": LABELS, "images": "whole"},
                groups=labels,
                images=always(N),
                spared=[("groups", "none"), ("groups", "beyond"), ("groups", "negative")],
            )
        ],
        "pooled": [
            given(
                information.pooled,
                {"own": "thing", "table": LOGS},
                own=lambda: information.crossed_mean(logs()),
                table=logs,
                contrast=always([1.0, 0.0, -1.0]),
                spared=[("table", "turned"), ("table", "half"), ("table", "bfloat16"), ("table", "column")],
            )
        ],
        "equivalent_dof": [
            given(
                information.equivalent_dof,
                {"size": "positive"},
                parts=lambda: information.crossed_mean(logs()).parts,
                size=always(0.05),
            )
        ],
        "sample_variance": [
            given(
                information.sample_variance,
                {"samples": IMAGES, "levels": "whole"},
                samples=lambda: images()[None].numpy(),
                levels=always(LEVELS),
                spared=[("samples", "channels"), ("samples", "no channels"), ("samples", "one image")],
            )
        ],
        "variances": [
            given(
                information.variances,
                {"samples": IMAGES, "levels": "whole"},
                samples=lambda: images()[None].numpy(),
                levels=always(LEVELS),
                spared=[("samples", "channels"), ("samples", "no channels"), ("samples", "one image")],
            )
        ],
        "whole_variance": [
            given(
                information.whole_variance,
                {"samples": IMAGES, "levels": "whole"},
                samples=lambda: images().numpy(),
                levels=always(LEVELS),
                spared=[("samples", "channels"), ("samples", "no channels"), ("samples", "one image")],
            )
        ],
        "seen_values": [given(lambda part: information.seen_values([part]), {"part": ACTS}, part=lambda: drawn(N, 3))],
        "hashes_of": [given(information.hashes_of, {"rows": ACTS}, rows=lambda: drawn(N, 3), spared=BYTES)],
        "seen_hashes": [
            given(
                information.seen_hashes,
                {"hashes": LABELS, "groups": LABELS},
                hashes=labels,
                groups=labels,
                spared=[
                    ("groups", "none"),
                    *((name, bad) for name in ("hashes", "groups") for bad in ("beyond", "negative")),
                ],
            )
        ],
        "states_ceiling": [
            given(
                information.states_ceiling,
                {"units": "whole", "bits": "whole"},
                units=always(3),
                bits=always(8),
                spared=[("units", "huge"), ("bits", "huge")],
            )
        ],
        "Rows": [
            given(
                lambda **rows: len(information.Rows(**rows)),
                {"count": "whole", "of": "thing"},
                count=always(3),
                of=always(lambda part: None),
                spared=[("count", "huge")],
            )
        ],
    },
    "geometry": {
        "binned_entropy": [
            given(
                geometry.binned_entropy,
                {"activations": ACTS, "bin_size": "positive"},
                activations=lambda: drawn(N, 3),
                bin_size=always(0.5),
            )
        ],
        "unit_binned_entropies": [
            given(
                geometry.unit_binned_entropies,
                {"activations": ACTS, "bin_size": "positive"},
                activations=lambda: drawn(N, 3),
                bin_size=always(0.5),
            )
        ],
        "distance_histogram": [
            given(
                geometry.distance_histogram,
                {"activations": ACTS, "labels": LABELS, "bins": "whole"},
                activations=lambda: drawn(N, 3),
                labels=labels,
                bins=always(4),
                spared=[("labels", "beyond"), ("bins", "huge"), ("labels", "negative")],
            )
        ],
    },
    "claims": {
        "holm": [given(claims.holm, {"p": "names"}, p=always([0.1, 0.2]))],
        "corrected_for": [given(claims.corrected_for, {"tests": "whole"}, tests=always(3), spared=[("tests", "huge")])],
        "claims": [given(claims.claims, {"family": "names"}, family=always([claims.Hypothesis(1.0, 0.01, 3)]))],
        "Hypothesis": [
            given(
                claims.Hypothesis,
                {"change": "positive", "p": "positive"},
                change=always(1.0),
                p=always(0.5),
                spared=[("change", "negative"), ("change", "zero"), ("p", "none"), ("p", "zero")],
            )
        ],
    },
    "estimate": {
        "confidence": [
            given(
                estimate.confidence,
                {"level": "positive", "dof": "positive"},
                level=always(0.9),
                dof=always(3.0),
                spared=[("dof", "inf")],
            )
        ],
    },
}
