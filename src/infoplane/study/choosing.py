"""The cells that choose a density by the data: a short fit of each candidate, and what their losses say."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from infoplane.engine.store import Result
from infoplane.errors import FitError
from infoplane.information import count, crossed_mean
from infoplane.inversion import FitSettings, fit_density, log_probs
from infoplane.study.candidates import CANDIDATES, offer, settled
from infoplane.study.cells import build_density
from infoplane.study.task import Task


def run_candidate(task: Task) -> Result:
    """Fits p(x) as a candidate has it, and scores the images that are held out for early stopping; no other ones.

    A fit that fails has lost, which is said in `failed`, and stops nothing.
    """
    found = offer(task.params["candidate"], tuple(task.data.values["shape"]), task.levels)
    params = settled(task.params, found, task.environment.device.type)
    fit, seed = FitSettings.model_validate(params["fit"]), params["seed"]
    pairs, held = task.fitting_pairs(None, fit.held_out, seed)
    density = build_density(task, params["density"], None, seed)
    values = {**found, "updates": fit.updates}
    try:
        curve = fit_density(density, pairs, held, fit, seed=seed, progress=task.environment.progress)
    except FitError as error:
        return Result({**values, "failed": str(error)})
    return Result({**values, "curve": asdict(curve)}, {"log_probs": log_probs(density, held).numpy()})


def run_choice(task: Task) -> Result:
    """Chooses the candidate with the lowest loss on held-out images, the same for all layers and refits.

    Raises:
        FitError: None could be trained.
    """
    groups = task.held_out_groups(task.params["held_out"], task.params["seed"])
    tried = {name: task.needs[name] for name in CANDIDATES if name in task.needs}
    failed = {name: each.values["failed"] for name, each in tried.items() if "failed" in each.values}
    fitted = {name: stored for name, stored in tried.items() if name not in failed}
    if not fitted:
        why = "; ".join(f"{name}: {message}" for name, message in failed.items())
        raise FitError("no density can be trained on these images", received=why, mend="name one in density.kind")
    found = choose({name: -stored.array("log_probs") for name, stored in fitted.items()}, groups)
    for name, stored in fitted.items():
        found["losses"][name]["updates"] = stored.values["updates"]
    own = fitted[found["chosen"]].values
    chosen = {key: own[key] for key in ("density", "batch", "learning_rate", "pace")}
    return Result({**found, "failed": failed, **chosen})


def choose(losses: Mapping[str, np.ndarray], groups: np.ndarray) -> dict[str, Any]:
    """Returns the candidate of the lowest mean loss, and by how much it is the lowest; the first one in doubt.

    Args:
        losses: Candidate -> its loss on each of the same images (n,), nats.
        groups: (n,) group of each of these: copies of one image are one.

    Returns: `chosen`; `losses`: candidate -> its mean `nats` and `stderr`; `difference` from the nearest of the others,
        which needs so many nats more, with its paired `stderr`, and `other`, its name, all three None where there is no
        other; `n` groups.
    """
    means = {name: crossed_mean(each, groups=groups) for name, each in losses.items()}
    first, *_ = order = sorted(losses, key=lambda name: means[name].value)
    usual = next(iter(losses))
    if first != usual:
        ahead = crossed_mean(losses[usual] - losses[first], groups=groups)
        first = first if ahead.value > ahead.stderr else usual
    other = next((name for name in order if name != first), None)
    apart = None if other is None else crossed_mean(losses[other] - losses[first], groups=groups)
    return {
        "chosen": first,
        "losses": {name: {"nats": mean.value, "stderr": mean.stderr} for name, mean in means.items()},
        "difference": None if apart is None else apart.value,
        "stderr": None if apart is None else apart.stderr,
        "other": other,
        "n": count(losses[first], groups),
    }


CHOOSING_KINDS: dict[str, Callable[[Task], Result]] = {"candidate": run_candidate, "choice": run_choice}
