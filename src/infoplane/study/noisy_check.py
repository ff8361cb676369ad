"""What a study of noisy networks needs from outside, and what its cells cost."""

from infoplane.engine.store import Result
from infoplane.errors import UsageError
from infoplane.measurements.noisy import NoisyCosts, made, problem
from infoplane.study.noisy_spec import NoisySpec


def load_points(spec: NoisySpec) -> Result:
    """The problem that a study asks for, as a cell's result.

    Raises:
        UsageError: It cannot be had, or does not take these options.
    """
    result = made(spec.data.name, spec.data.options, spec.seed)
    check_samples(spec, len(result.arrays["inputs"]))
    training = len(result.arrays["training"])
    for one in map(spec.one, spec.names):
        if one.train.batch is not None and one.train.batch > training:
            received = f"{one.train.batch:,} of {training:,}"
            mend = "lower train.batch, or leave it out for all of them"
            raise UsageError("train.batch is more than there are training inputs", received=received, mend=mend)
    return result


def check_samples(spec: NoisySpec, inputs: int) -> None:
    """Raises UsageError where there are too few samples for a layer behind the first one."""
    deep = any(one.network.beta is not None and len(one.network.widths) > 1 for one in map(spec.one, spec.names))
    if deep and spec.estimate.samples < 2 * inputs:
        received = f"{spec.estimate.samples:,} for {inputs:,} inputs"
        legal = f"at least two per input: {2 * inputs:,}"
        raise UsageError("estimate.samples is too small", received=received, legal=legal)


def noisy_costs(spec: NoisySpec, loaded: Result | None = None) -> NoisyCosts:
    """Returns what cells of a study cost.

    Args:
        loaded: Its data, which take no time here.

    Raises:
        UsageError: The study cannot be run here, e.g. since its data are missing.
    """
    points = problem(spec.data.name, spec.data.options, spec.seed)
    check_samples(spec, len(points.inputs))
    return NoisyCosts(points)
