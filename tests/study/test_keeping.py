"""Which activations are kept: one room for all layers and checkpoints."""

import pytest

import tiny_study
from infoplane.engine.plan import Plan
from infoplane.engine.store import Store
from infoplane.measurements import inputs
from infoplane.measurements.inputs import kept_layers
from infoplane.study.execute import execute

GIB = 2**30


@pytest.mark.parametrize("checkpoints", [1, 5])
def test_all_layers_share_one_room(checkpoints):
    # Twenty layers of 1.9 GiB at all checkpoints: four of them fit into 8 GiB.
    shapes = {f"layer{index}": (19, 2**10) for index in range(20)}
    examples = GIB // 10 // (4 * 2**10) // checkpoints
    kept = kept_layers(shapes, examples, checkpoints)
    assert list(kept) == ["layer0", "layer1", "layer2", "layer3"]
    assert sum(kept.values()) <= inputs.CACHE_BYTES < sum(kept.values()) * 5 / 4


def test_narrow_layers_come_first_in_their_own_order():
    shapes = {"wide": (100,), "b": (10,), "huge": (1000,), "a": (10,), "scalar": ()}
    assert kept_layers(shapes, 1, most=4 * 121) == {"wide": 400, "b": 40, "a": 40, "scalar": 4}
    assert list(kept_layers(shapes, 1, most=4 * 120)) == ["b", "a", "scalar"]
    assert kept_layers(shapes, 1, most=0) == {}
    assert kept_layers({}, 1) == {}


def test_a_study_keeps_what_fits_and_says_so(tmp_path, monkeypatch, capsys):
    spec = tiny_study.tiny(tmp_path, fit__refits=1, measure=["nce"])
    narrow, wide = "logits", next(layer for layer in spec.layers if layer != "logits")
    spec = spec.model_copy(update={"layers": (wide, narrow)})
    examples = spec.data.decoding + spec.data.evaluation
    monkeypatch.setattr(inputs, "CACHE_BYTES", 4 * examples * 10 * len(spec.checkpoints))
    assert not execute(spec, tmp_path / "run", workers=0).failed
    said = capsys.readouterr().err
    assert (
        f"activations of 1 of 2 layers are kept: about {4 * examples * 3 * len(spec.checkpoints) / 1e3:.0f} kB" in said
    )
    assert f"computed anew for every batch: {wide}" in said
    capture = Store(tmp_path / "run" / "cells").load(tiny_study.role(Plan.load(tmp_path / "run"), "capture"))
    assert capture.values["on_the_fly"] == [wide]
    kept = {name for name in capture.names() if ":" in name}
    assert kept == {f"decoding:{narrow}", f"evaluation:{narrow}"}
