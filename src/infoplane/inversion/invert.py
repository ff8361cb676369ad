"""Fit a density q(x|h) to pairs and score held-out ones with it."""

from collections.abc import Iterator, Mapping
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from infoplane.arguments import Seed, checked
from infoplane.densities import Density
from infoplane.densities.autoregressive import folds_of
from infoplane.errors import UsageError
from infoplane.inversion.fast import Loss
from infoplane.inversion.fit import Curve, Progress, fit, losses_of, scored_at_once
from infoplane.inversion.pairs import Pairs
from infoplane.inversion.parallel import Ranks, fit_on_ranks
from infoplane.inversion.settings import FitSettings
from infoplane.torch_state import own_state

#: pairs of an image and any context that are scored at once: on a processor four times as many take twice the time each
CROSSED, CROSSED_ON_GPU = 64, 256


class NegativeLogProb:
    """−log q(x|h) in nats per example, as a loss; in training what the density has in its place."""

    @checked
    def __init__(self, density: Density) -> None:
        self.density = density

    def __call__(self, images: Tensor, context: Tensor | None, guide: Tensor | None = None) -> Tensor:
        if self.density.training:
            return self.density.training_loss(images, context, guide)
        return -self.density.log_prob(images, context)


@checked
@own_state()
def fit_density(
    density: Density,
    pairs: Pairs,
    held_out: Pairs,
    settings: FitSettings,
    *,
    seed: Seed,
    start: dict[str, Tensor] | None = None,
    ranks: Ranks | None = None,
    watched: Mapping[str, Pairs] | None = None,
    progress: Progress | None = None,
) -> Curve:
    """Trains q(x|h) by maximum likelihood (Nash et al. 2019, eq. 4) and returns the training curve in nats per image.

    Args:
        start: Weights of a model of the same family to start from. Those of an unconditional one: the context then
            begins with no effect, so training starts at that model's value. Those of one with the same kind of
            context (a neighbouring checkpoint's): all of them are taken. Without it, data-dependent initialisation.
        ranks: The processes that train it together, all of which make this call; see `infoplane.inversion.parallel`.
        watched: Name -> pairs whose loss is written down along the way and decides nothing; not by several processes.

    Raises:
        ValueError: The start is of another family, or has another context.
        UsageError: The density was made in inference mode.

    Examples:
        >>> black = Pairs(torch.zeros(8, 1, 2, 2, dtype=torch.uint8))
        >>> density = infoplane.PixelCNN((1, 2, 2), levels=2, filters=4, residual_layers=1, scales=1)
        >>> curve = fit_density(density, black, black, FitSettings(updates=30), seed=0)
        >>> bool(log_probs(density, black).mean() > -4 * np.log(2))  # nats of a black image, and of any by guessing
        True
    """
    if any(parameter.is_inference() for parameter in density.parameters()):
        mend = "make it outside torch.inference_mode()"
        raise UsageError("a density made in inference mode cannot be trained", mend=mend)
    if start is None:
        # Under a null context and on the first images: the same for a conditional model and its twin.
        density.initialise(pairs.images_of(slice(0, density.initial_images)))
    else:
        _begin_at(density, start)
    pairs = guided(density, pairs, seed)
    loss: Loss = NegativeLogProb(density)
    if ranks is not None:
        return fit_on_ranks(density, loss, pairs, held_out, settings, seed=seed, ranks=ranks, progress=progress)
    return fit(density, loss, pairs, held_out, settings, seed=seed, watched=watched, progress=progress)


def guided(density: Density, pairs: Pairs, seed: int) -> Pairs:
    """Solves what a density can solve of its context; returns the pairs with what training is then told of each."""
    if pairs.context is None:
        return pairs

    def batches() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for rows in torch.arange(len(pairs)).split(512):
            images, context = pairs.batch(rows)
            assert context is not None
            yield rows, images, context

    # What is random in a context is drawn from the fit's seed.
    with torch.random.fork_rng([pairs.device] if pairs.device.type == "cuda" else []):
        torch.manual_seed(seed)
        guide = density.fit_readout(batches, folds_of(pairs.groups, seed), fixed=isinstance(pairs.context, Tensor))
    return pairs if guide is None else pairs.guided(guide)


def _begin_at(density: Density, start: dict[str, Tensor]) -> None:
    """Loads the weights of an unconditional model, or of one with the same kind of context."""
    shapes = {name: tuple(value.shape) for name, value in density.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in start.items()}
    missing = shapes.keys() - given.keys()
    whole = density.context_state()
    others = sorted(name for name in given if given[name] != shapes.get(name))
    if others or (missing and missing != whole):
        raise ValueError(f"the start is not of this family: missing {sorted(missing)}, other {others}")
    density.load_state_dict(start, strict=False)
    if missing:
        density.silence_context()


@checked
def log_probs(density: Density, pairs: Pairs) -> Tensor:
    """Returns log q(x|h) of every pair in nats, float64 (n,)."""
    return -losses_of(density, NegativeLogProb(density), pairs)


@checked
@own_state()
@torch.no_grad()
def cross_log_probs(
    density: Density, pairs: Pairs, contexts: Tensor, *, batch: Annotated[int, Ge(1)] | None = None
) -> Tensor:
    """Returns log q(x_i|h_k) in nats for every image and every context: (n, K) float64.

    Args:
        contexts: (K, …), standardised as the density was trained.
        batch: Most pairs that are scored at once; default: what is fastest, on a processor as many as its caches hold.
    """
    n, k = len(pairs), len(contexts) if contexts.ndim else 0
    if not (n and k):
        raise UsageError("nothing to score", received=f"{n} images, {k} contexts", legal="at least one of each")
    batch = scored_at_once(
        pairs, (CROSSED_ON_GPU if pairs.device.type == "cuda" else CROSSED) if batch is None else batch
    )
    rows, columns = (index.flatten() for index in torch.meshgrid(torch.arange(n), torch.arange(k), indexing="ij"))
    density.eval()
    images, contexts = pairs.images.to(pairs.device), contexts.to(pairs.device)
    scores = [
        density.log_prob(images[rows[i : i + batch]], contexts[columns[i : i + batch]]).double().cpu()
        for i in range(0, n * k, batch)
    ]
    return torch.cat(scores).view(n, k)
