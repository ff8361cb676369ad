"""A study of how much of the input each layer of a noisy network keeps, as data."""

import math
from typing import Annotated, Any, ClassVar, Literal, Self

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import Field, ValidationError

from infoplane.engine.store import Result
from infoplane.errors import UsageError
from infoplane.measurements.noisy import NoisyCosts, made, problem
from infoplane.measurements.noisy_information import SweepSpec
from infoplane.settings import Settings, first_error, shown
from infoplane.study import yaml12
from infoplane.study.base import Study, set_field
from infoplane.subjects.dense import DenseSettings
from infoplane.subjects.points import POINTS
from infoplane.subjects.train_noisy import DescentSettings, schedule

#: bin size of the clustering measure where a study names none, in β
BINS = 10.0
#: checkpoints of a training that names none
CHECKPOINTS = 30


class PointsSpec(Settings):
    """Attributes: name: a key of `infoplane.subjects.points.POINTS`; options: what that function takes."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class NoisyEstimates(Settings):
    """How I(X;T_l) is estimated.

    Attributes:
        samples: Propagated samples in all, shared out over the inputs.
        queries: Monte Carlo draws per entropy.
        repeats: Independent estimates of the same network: the first chooses the peak, the others say what it was.
        exact: Also by quadrature; for chains of single units.
    """

    samples: Annotated[int, Ge(2), Le(10**9)] = 100_000
    queries: Annotated[int, Ge(4), Le(10**8)] = 10_000
    repeats: Annotated[int, Ge(2), Le(1000)] = 2
    exact: bool = False


class OneNetwork(Settings):
    """One network of a study, resolved: what it is, how it is trained, and the bins of its clustering measure."""

    network: DenseSettings
    train: DescentSettings
    bins: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)] | None = None


class NoisySpec(Study):
    """A study of noisy networks: I(X;T_l) by sample propagation and clustering, through training.

    Attributes:
        data: The problem: all its inputs, equally likely.
        network: The network, dense.
        train: How it is trained.
        bins: Bin sizes of H(Bin(T)); null for 10 β.
        networks: Name -> what another network of the same study changes, dotted path -> value; all start from the
            same random weights and see the training inputs in the same order. Empty: the one described above.
        estimate: How information is estimated.
        marked: Epochs at which activations are shown; the nearest checkpoints are taken.
        sweep: Also I(X;T) of a single tanh unit over its weight; null for none.
    """

    may_change: ClassVar[tuple[str, ...]] = (
        *Study.may_change,
        *("bins", "marked", "sweep", "estimate.repeats", "estimate.exact", "train.checkpoints"),
    )

    kind: Literal["flow"] = "flow"
    data: PointsSpec
    network: DenseSettings
    train: DescentSettings
    bins: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)] | None = None
    networks: dict[str, dict[str, Any]] = Field(default_factory=dict)
    estimate: NoisyEstimates = NoisyEstimates()
    marked: tuple[Annotated[int, Ge(0), Le(10**9)], ...] = ()
    sweep: SweepSpec | None = None

    def resolve(self) -> Self:
        """Returns the study with bins and checkpoints written out.

        Raises:
            UsageError: Sections do not go together.
        """
        POINTS.get(self.data.name, what="data.name")
        found = {name: _resolved(self.one(name), name) for name in self.names}
        if self.estimate.exact and any(set(one.network.widths) != {1} for one in found.values()):
            mend = "leave estimate.exact out, or give every layer one unit"
            raise UsageError("estimate.exact is for chains of single units", received="several units", mend=mend)
        if self.networks:
            return self
        (one,) = found.values()
        return self.model_copy(update={"train": one.train, "bins": one.bins})

    @classmethod
    def instead(cls, path: tuple[Any, ...]) -> str | None:
        """Says what takes the place of the refits of other studies."""
        return "noisy studies have estimate.repeats instead of refits" if path[:1] == ("fit",) else None

    @property
    def names(self) -> list[str]:
        """Names of the study's networks; "" where there is only one."""
        return list(self.networks) or [""]

    def one(self, name: str) -> OneNetwork:
        """Returns one of the study's networks, resolved."""
        content = self.model_dump(mode="json", include={"network", "train", "bins"})
        changes = self.networks.get(name, {})
        for section in ("network", "train"):
            # It would fall back to defaults in all that it does not name.
            if isinstance(part := changes.get(section), dict):
                others = {path: value for path, value in changes.items() if path != section}
                whole = others | {f"{section}.{key}": value for key, value in part.items()}
                shortly = yaml12.dump(whole, default_flow_style=True, width=math.inf).strip()
                raise UsageError(
                    f"networks.{name} cannot replace a section",
                    received=f"{section}: {shown(part)}",
                    legal="all that it changes as dotted keys of one mapping",
                    mend=f"for example --set 'networks.{name}={shortly}'",
                )
        for path, value in changes.items():
            set_field(content, path, value)
        try:
            return _resolved(OneNetwork.model_validate(content), name)
        except ValidationError as error:
            raise first_error(error, OneNetwork, f"networks.{name}", content) from error

    def shown(self, name: str) -> list[int]:
        """The checkpoints of a network nearest to the marked epochs."""
        kept = self.one(name).train.checkpoints or ()
        return sorted({min(kept, key=lambda epoch: abs(epoch - wanted)) for wanted in self.marked})


def _resolved(one: OneNetwork, name: str) -> OneNetwork:
    """Bins and checkpoints written out, or UsageError where sections do not go together."""
    where = f"networks.{name}." if name else ""
    network, train = one.network, one.train
    if train.loss == "mse" and (network.widths[-1] != 1 or network.read_out):
        legal = "a last hidden layer of one unit and network.read_out: false"
        raise UsageError(f"{where}train.loss mse needs one output", received=list(network.widths), legal=legal)
    if train.loss == "cross-entropy" and not network.read_out:
        raise UsageError(f"{where}train.loss cross-entropy needs one output per class", received="read_out: false")
    if network.start is not None and (set(network.widths) != {1} or len(network.start) != len(network.widths)):
        legal = "(weight, bias) of each hidden layer of one unit"
        raise UsageError(f"{where}network.start does not fit the layers", received=list(network.start), legal=legal)
    checkpoints = train.checkpoints
    if checkpoints is None:
        checkpoints = tuple(schedule(train.epochs, CHECKPOINTS))
    late = [epoch for epoch in checkpoints if epoch > train.epochs]
    if late:
        legal = f"0 to {train.epochs}"
        raise UsageError(f"{where}train.checkpoints lie beyond the last epoch", received=late, legal=legal)
    checkpoints = tuple(sorted({*checkpoints, train.epochs}))
    bins = one.bins
    if bins is None and network.beta is None:
        mend = "give bins: [size, …]"
        raise UsageError(f"{where}bins of a deterministic network have no default", received="null", mend=mend)
    if bins is None and network.beta is not None:
        bins = (float(f"{BINS * network.beta:.6g}"),)
    assert bins is not None
    if not all(math.isfinite(size) for size in bins):
        raise UsageError(f"{where}bins must be finite", received=list(bins))
    return OneNetwork(network=network, train=train.model_copy(update={"checkpoints": checkpoints}), bins=bins)


# --- what it needs from outside, and what its cells cost ---


def load_points(spec: NoisySpec) -> Result:
    """The problem that a study asks for, as a cell's result; errors as those of `problem`."""
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
    """Returns what cells of a study cost, whose data take no time here; errors as those of `problem`."""
    points = problem(spec.data.name, spec.data.options, spec.seed)
    check_samples(spec, len(points.inputs))
    return NoisyCosts(points)
