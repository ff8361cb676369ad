"""Pictures are packed once each, and as many samples are shown as the page can carry."""

import dataclasses

import numpy as np
import pytest
import synthetic_report

from infoplane.report.charts import gallery as pictures
from infoplane.report.inversion.contents import MOST_IMAGES


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was packed as a PNG: the pixels, side by side as they were."""
    found: list[bytes] = []
    pack = pictures._packed

    def counted(images: list[np.ndarray], levels: int, columns: int) -> tuple[str, int, int]:
        found.append(bytes([columns]) + b"".join(image.tobytes() for image in images))
        return pack(images, levels, columns)

    monkeypatch.setattr(pictures, "_packed", counted)
    return found


def test_equal_pixels_are_packed_once(packed: list[bytes]) -> None:
    full = synthetic_report.contents()
    drawn = full.layers[0].pictures["end"]
    alike = [dataclasses.replace(layer, pictures={"end": drawn}) for layer in full.layers]
    found = pictures.gallery(dataclasses.replace(full, layers=alike))
    assert found is not None
    assert len(packed) == len(set(packed))
    # Six images, six reconstructions and six rows of samples, whatever the number of layers, and those of p(x).
    assert len(packed) == 6 * 3 + 1
    names = {row.cells[0].samples.alt for rows in found.panels for row in rows if row.cells[0]}
    assert len(names) == 6 * len(full.layers)


def test_of_many_images_the_first_are_shown() -> None:
    full = synthetic_report.contents()
    many = MOST_IMAGES + 5
    assert full.inputs is not None

    def repeated(images: np.ndarray | None) -> np.ndarray | None:
        return None if images is None else np.resize(images, (many, *images.shape[1:]))

    layers = [
        dataclasses.replace(
            layer,
            pictures={
                at: dataclasses.replace(
                    drawn, reconstructions=repeated(drawn.reconstructions), samples=repeated(drawn.samples)
                )
                for at, drawn in layer.pictures.items()
            },
        )
        for layer in full.layers
    ]
    found = pictures.gallery(dataclasses.replace(full, inputs=repeated(full.inputs), layers=layers))
    assert found is not None
    assert (found.images, len(found.inputs), len(found.panels)) == (many, MOST_IMAGES, MOST_IMAGES)
    rows = pictures.sheet_rows(dataclasses.replace(full, inputs=repeated(full.inputs), layers=layers), "end")
    assert len(rows) == MOST_IMAGES
