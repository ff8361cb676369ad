"""What a measurement found: `Profile`."""

import hashlib
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import torch
from torch import Tensor

from infoplane import data, densities
from infoplane.capture import activations, seeded
from infoplane.capture.pytrees import own_batch
from infoplane.checks import check_whole
from infoplane.engine.lock import LOCK_FILE
from infoplane.engine.progress import Display
from infoplane.engine.store import Stored
from infoplane.engine.worker import Environment
from infoplane.errors import CellError, UsageError, unknown
from infoplane.estimate import KINDS, Estimate
from infoplane.files import TEMPORARY
from infoplane.measurements import QUANTITIES
from infoplane.measurements.numbers import ALL
from infoplane.measurements.task import Live, Task
from infoplane.profile.inputs import folder_of
from infoplane.report.build import build_page, load_run, table, writing
from infoplane.study.check import MOST_SAMPLES
from infoplane.study.folder import origin_in, prepare
from infoplane.study.results import Results
from infoplane.torch_state import own_state

#: why there is no number of a kind that the budget did not buy
OUT_OF_TIME = "left out as time ran short"


class Profile:
    """What a measurement found. `print(profile)` shows the table.

    Attributes:
        folder: The run's folder.
    """

    def __init__(self, folder: Path, live: Live, device: torch.device, *, quiet: bool = False) -> None:
        self.folder, self._live, self._device, self._quiet = folder, live, device, quiet

    @property
    def _results(self) -> Results:
        return cast(Results, load_run(self.folder))

    def __repr__(self) -> str:
        return f"<Profile of {', '.join(self.layers)} in {self.folder}; print it for its table>"

    def __str__(self) -> str:
        return table(self._results)

    @property
    def layers(self) -> list[str]:
        """The measured layers, in depth order."""
        return self._results.layers

    def __getitem__(self, layer: str) -> dict[str, Estimate]:
        """The estimates of one layer by kind, all refits together; at the last checkpoint.

        `read_through` names the later layer with whose density one was read, where that is not the layer's own.

        Raises:
            UsageError: The layer was not measured; the mapping itself raises it for a kind that was not.
        """
        results = self._results
        self._check(results, layer)
        found = {each.kind: each for (name, *_), refit, each in results.numbers if (name, refit) == (layer, ALL)}
        asked = results.spec.asked
        dropped = (kind for kind, each in QUANTITIES.items() if asked and each.asked in asked.measure)
        gone = {kind: OUT_OF_TIME for kind in dropped if QUANTITIES[kind].asked not in results.spec.measure}
        return _ByKind(found, gone | results.left_out())

    @property
    def frame(self) -> pl.DataFrame:
        """The tidy table: one row per estimate."""
        with writing(self.folder):
            self._results.write(self.folder)
        return pl.read_parquet(self.folder / "results.parquet")

    @own_state()
    def sample(
        self, layer: str, images: Any, n: int = 8, *, seed: int = 0, temperature: float = 1.0, rows: int = 0
    ) -> Tensor:
        """Draws images that q(x|h), h being the layer's activation for each image, takes for possible.

        Args:
            layer: One of the measured layers.
            images: uint8 (B, C, H, W).
            n: Samples per image; of all images together 100,000 at most.
            seed: Of the draws.
            temperature: Below 1 sharpens, above 1 flattens the distribution of every pixel; 1 draws from q itself.
            rows: So many first rows are those of the images; only the others are drawn.

        Returns: uint8 (B, n, C, H, W), from the first refit's density of this layer itself, whatever its numbers are
            read through.
        """
        seed = check_whole("seed", seed, least=0, most=2**63 - 1)  # torch's generators take no more
        n = check_whole("number of samples", n, least=1)
        wanted = len(self._images(images))
        if n * wanted > MOST_SAMPLES:
            received, legal = f"{n:,} of each of {wanted:,} images", f"at most {MOST_SAMPLES:,} in all"
            raise UsageError("too many samples", received=received, legal=legal, mend="draw them in several calls")
        density, contexts = self._inverse(layer, images, seed)
        if check_whole("number of rows to keep", rows, least=0) > density.shape[1]:
            raise UsageError("the images have fewer rows to keep", received=rows, legal=f"0 … {density.shape[1]}")
        kept = own_batch(self._images(images)[:, :, :rows]).repeat_interleave(n, 0) if rows else None
        generator = torch.Generator(self._device).manual_seed(seed)
        with Display({"drawing samples-": 1.0}, quiet=self._quiet) as display:
            display.start("drawing samples-")
            drawn = density.sample(
                contexts.repeat_interleave(n, 0),
                generator=generator,
                temperature=temperature,
                keep=kept,
                progress=lambda done, total: display.progress("drawing samples-", done, total, None),
            )
        return drawn.unflatten(0, (len(contexts), n)).cpu()

    @own_state()
    @torch.no_grad()
    def log_prob(self, layer: str, candidates: Any, *, given: Any) -> Tensor:
        """Scores every candidate under the layer's activation for every given image.

        Args:
            layer: One of the measured layers.
            candidates: uint8 (M, C, H, W).
            given: uint8 (B, C, H, W).

        Returns: log q(candidate_j | h(given_i)) in nats, float64 (B, M), from the first refit's density of this layer
            itself.
        """
        density, contexts = self._inverse(layer, given)
        scored = own_batch(self._images(candidates)).to(self._device)
        rows = []
        for context in contexts.split(1):
            parts = ((part, context.expand(len(part), *context.shape[1:])) for part in scored.split(256))
            rows.append(torch.cat([density.log_prob(*part).double() for part in parts]))
        return torch.stack(rows).cpu()

    @own_state()
    def report(self, folder: str | Path) -> Path:
        """Writes the whole run's folder, page and tables included, and returns the page.

        Raises:
            UsageError: The folder holds something else, or cannot be written.
            CellError: The disk is full.
        """
        folder = folder_of(folder, "folder")
        if folder.resolve() != self.folder.resolve():
            prepare(folder, self._results.spec, self._results.plan, origin_in(self.folder))

            with writing(folder):
                _copy(self.folder, folder)
        return build_page(folder)

    def _inverse(self, layer: str, images: Any, seed: int = 0) -> tuple[densities.Density, Tensor]:
        """The first refit's density and the standardised contexts of these images."""
        results = self._results
        self._check(results, layer)
        stored, capture, loaded = (results.cell("density", layer, 1), results.cell("capture"), results.cell("data"))
        if stored is None or capture is None or loaded is None:
            raise CellError("this layer's density was not fitted", received=repr(layer), mend="see the report")
        options = results.density_options
        space, context = data.Images.of_values(loaded.values), tuple(stored.values["context"])
        density = densities.build(options.pop("kind"), space.shape, space.levels, context, options)
        density.load_state_dict(stored.weights("density"))
        found = self._activations(layer, self._images(images), capture, loaded, seed)
        environment = Environment(self._device, lambda *_: None, self._live)
        task = Task({"data": loaded, "capture": capture}, environment)
        contexts = task.standardiser(layer)(task.reading(layer)(found).to(self._device))
        return density.to(self._device).eval(), contexts

    def _activations(self, layer: str, images: np.ndarray, capture: Stored, loaded: Stored, seed: int) -> Tensor:
        """Activations (B, …): those that were measured, where others could be others and these are known."""
        notes = capture.values.get("notes", {}).get(layer, [])
        if notes and (known := _measured(layer, images, capture, loaded)) is not None:
            return known
        if notes and not self._quiet:
            print(
                f"layer {layer!r} {notes[0].partition(':')[0]}: its activations were drawn anew here", file=sys.stderr
            )
        model, transform = self._live.model, self._live.transform
        with seeded(seed):
            return activations(model, [layer], own_batch(images), transform=transform, warn=False)[layer]

    def _images(self, images: Any) -> np.ndarray:
        loaded = self._results.cell("data")
        assert loaded is not None
        return data.Images.of_values(loaded.values).check_array(images)

    def _check(self, results: Results, layer: str) -> None:
        if not isinstance(layer, str) or layer not in results.layers:
            raise unknown("measured layer", layer, results.layers)


def _copy(source: Path, target: Path) -> None:
    """Copies a run's folder with the rights that the umask leaves: the source may be temporary, open to nobody else."""
    target.mkdir(exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.name == LOCK_FILE or path.name.startswith(TEMPORARY):
            continue
        if path.is_dir():
            _copy(path, target / path.name)
        else:
            shutil.copyfile(path, target / path.name)


def _measured(layer: str, images: np.ndarray, capture: Stored, loaded: Stored) -> Tensor | None:
    """The stored activations of images that were all measured, or None."""
    rows: dict[bytes, np.ndarray] = {}  # by a hash: the images themselves would be there twice
    for part in ("decoding", "evaluation"):
        if f"{part}:{layer}" in capture.names():
            recorded = capture.array(f"{part}:{layer}")
            measured = loaded.array("images")[loaded.array(part)[: len(recorded)]]
            rows |= {_digest(image): h for image, h in zip(measured, recorded, strict=True)}
    found = [rows.get(_digest(image)) for image in images]
    return None if any(h is None for h in found) else torch.from_numpy(np.stack(found))  # pyright: ignore


def _digest(image: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).data).digest()


class _ByKind(dict[str, Estimate]):
    """Estimates by kind; one that is not there is an error that says why, or lists those that are."""

    def __init__(self, found: Mapping[str, Estimate], left_out: Mapping[str, str]) -> None:
        super().__init__(found)
        self._left_out = left_out

    def __missing__(self, kind: str) -> Estimate:
        if kind in self._left_out:
            mend = "give it a larger budget" if self._left_out[kind] == OUT_OF_TIME else "measure on more images"
            raise UsageError(f"there is no {KINDS.get(kind, kind)}", received=self._left_out[kind], mend=mend)
        raise unknown("kind of estimate", kind, self)
