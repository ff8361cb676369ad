"""What was measured beside what is known."""

import math
from typing import TYPE_CHECKING, Any

from infoplane.estimate import Estimate, confidence
from infoplane.information import Mean, crossed_mean
from infoplane.measurements.numbers import ALL, INPUT

if TYPE_CHECKING:
    from infoplane.study.results import Results
#: confidence of the intervals outside which something known to be impossible is not put down to chance: that of three
#: standard errors where these are known
IMPOSSIBLE = 0.9973


def truths(results: "Results") -> list[dict[str, Any]] | None:
    """Returns what was measured beside what is known, or None where nothing is known."""
    truth = results.cell("truth")
    if truth is None:
        return None
    information = {layer: Estimate.of(values) for layer, values in truth.values["information"].items()}
    entropy = {layer: Estimate.of(values) for layer, values in truth.values["entropy"].items()}
    found = []
    for (layer, checkpoint, *_), refit, estimate in results.numbers:
        if refit != ALL or checkpoint not in ("", results.checkpoints[-1]):
            continue
        where = "p(x)" if layer == INPUT else layer
        if estimate.kind == "cross-entropy" and layer in entropy:
            found.append(_compare(where, estimate, entropy[layer]))
        elif estimate.kind == "excess":
            found.append(_excess(where, estimate, entropy[layer]))
        elif estimate.kind in ("usable", "contrastive") and layer in information:
            found.append(_compare(where, estimate, information[layer]))
            if estimate.kind == "contrastive" and f"contrastive:{layer}" in truth.names():
                found.append(_beside(where, estimate, crossed_mean(truth.array(f"contrastive:{layer}"))))
        elif estimate.kind == "label":
            # No function of x can know more about the template than x does.
            found.append(_compare(f"{where} (at most I(x; template))", estimate, information["template"]))
    return found


def _compare(where: str, estimate: Estimate, truth: Estimate) -> dict[str, Any]:
    """One line of the comparison with what is known: does a bound hold, how far off is what bounds nothing?"""
    gap = estimate.value - truth.value
    far = confidence(IMPOSSIBLE, estimate.dof) * math.hypot(estimate.stderr or 0.0, truth.stderr or 0.0)
    if estimate.bound == "lower":
        verdict = "holds" if gap <= far else "violated"
    elif estimate.bound == "upper":
        verdict = "holds" if gap >= -far else "violated"
    else:
        verdict = f"off by {gap:+.2f} nats"
    return _line(f"{estimate.meaning} at {where}", estimate, truth.value, truth.stderr, verdict)


def _excess(where: str, estimate: Estimate, entropy: Estimate) -> dict[str, Any]:
    """Paired with the true density on the same images: it cannot be negative but by chance."""
    possible = estimate.value >= -confidence(IMPOSSIBLE, estimate.dof) * (estimate.stderr or 0.0)
    share = f"{100 * estimate.value / entropy.value:.2f} % of the entropy"
    return _line(f"{estimate.meaning} at {where}", estimate, 0.0, None, share if possible else f"impossible: {share}")


def _beside(where: str, estimate: Estimate, true: Mean) -> dict[str, Any]:
    """The contrastive bound beside the one that the true density gives on the same draws."""
    share = f"{100 * (estimate.value / true.value - 1):+.2f} % of the true density's"
    return _line(f"{estimate.meaning} at {where}, true density's", estimate, true.value, true.stderr, share)


def _line(name: str, estimate: Estimate, truth: float, truth_stderr: float | None, verdict: str) -> dict[str, Any]:
    return {
        "name": name,
        "truth": truth,
        "truth_stderr": truth_stderr,
        "measured": estimate.value,
        "stderr": estimate.stderr,
        "direction": estimate.direction,
        "verdict": verdict,
    }
