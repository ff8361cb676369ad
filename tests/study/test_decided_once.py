"""In what a study's fits compute: decided once, on the machine where the run begins."""

from typing import cast

import pytest
import torch

import tiny_study
import toy_networks
from infoplane.engine.plan import Plan
from infoplane.inversion import precision
from infoplane.measurements import as_kind
from infoplane.measurements.candidates import CANDIDATES, Candidate, as_chosen, offer
from infoplane.profile import measure
from infoplane.study.execute import execute
from infoplane.study.folder import STUDY_FILE, on_machine
from infoplane.study.load import load_study, read_study
from infoplane.study.plan import make_plan
from infoplane.study.spec import StudySpec
from tiny_study import command, kind_of, role

CPU = torch.device("cpu")
WINDOW = {"kind": "autoregressive", "width": 8}
#: a run of a moment
SMALL = {"layers": ["logits"], "measure": ["nce"], "fit": {"updates": 2, "batch": 8, "evaluations": 1, "refits": 1}}


@pytest.fixture
def processor(monkeypatch):
    """Makes this machine one whose processor computes bfloat16, or not."""

    def make(half: bool) -> None:
        monkeypatch.setattr(precision, "flags", lambda: frozenset({"avx512_bf16"} if half else ()))
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)

    return make


def asked(folder, **changes) -> StudySpec:
    return tiny_study.tiny(folder, **{**SMALL, "density": WINDOW, **changes})


def stored(folder) -> StudySpec:
    return cast(StudySpec, read_study(folder / STUDY_FILE))


@pytest.mark.parametrize(
    ("density", "half", "expected"),
    [
        (WINDOW, True, "bfloat16"),
        (WINDOW, False, "float32"),
        ({"kind": "autoregressive", "trunk": "transformer"}, True, "bfloat16"),
        ({"kind": "autoregressive", "trunk": "pixelcnn"}, True, "float32"),
        ({"kind": "pixelcnn", "filters": 4}, True, "float32"),
        ({"kind": "auto"}, True, "bfloat16"),
        ({"kind": "auto"}, False, "float32"),
    ],
)
def test_a_study_takes_what_suits_its_density_and_the_machine(tmp_path, processor, density, half, expected):
    processor(half)
    fit = {**SMALL["fit"], "batch": 8} if density["kind"] != "auto" else {"updates": 2}
    spec = asked(tmp_path, density=density, fit=fit)
    assert spec.fit.precision == "auto"
    found = on_machine(spec, None, CPU)
    assert (found.fit.precision, found.reconstruction.precision) == (expected, "float32")
    named = on_machine(asked(tmp_path, density=density, fit={**fit, "precision": "float32"}), None, CPU)
    assert named.fit.precision == "float32"


def test_it_is_decided_once_and_goes_with_the_run(tmp_path, processor, refuses, capsys):
    """A run begun where bfloat16 is computed grows elsewhere as it began."""
    processor(True)
    run = tmp_path / "run"
    assert not execute(asked(tmp_path), run, workers=0, quiet=True).failed
    assert stored(run).fit.precision == "bfloat16"
    plan = Plan.load(run)
    first = plan.cells[role(plan, "density", "logits", 1)]
    assert first.params["fit"]["precision"] == "bfloat16"
    before = {path.name for path in (run / "cells").iterdir()}
    processor(False)
    # What `plan` and `run` take for granted is what stands there.
    path = tmp_path / "asked.yaml"
    path.write_text(asked(tmp_path).to_yaml())
    said = command(capsys, "plan", path, "--out", run, "--tflops", 1)
    assert said.code == 0
    assert "0 would be computed" in said.out
    assert not execute(asked(tmp_path, fit__refits=2), run, workers=0, quiet=True).failed
    grown = Plan.load(run)
    assert grown.cells[role(grown, "density", "logits", 1)].name == first.name
    assert grown.cells[role(grown, "density", "logits", 2)].params["fit"]["precision"] == "bfloat16"
    new = {path.name for path in (run / "cells").iterdir()} - before
    assert {kind_of(name) for name in new} == {"density"}
    # What is asked for by name is another study's.
    with refuses("the output folder holds another study's run", "fit.precision is 'bfloat16' there, 'float32' here"):
        execute(asked(tmp_path, fit__precision="float32"), run, workers=0, quiet=True)
    # A folder of one's own decides anew.
    assert on_machine(asked(tmp_path), tmp_path / "other", CPU).fit.precision == "float32"


def test_precision_is_part_of_a_name(tmp_path, processor):
    names = []
    for half in (False, True):
        processor(half)
        plan = make_plan(on_machine(asked(tmp_path), None, CPU))
        names.append({kind: role(plan, kind, *where) for kind, *where in (("density", "logits", 1), ("capture",))})
    assert names[0]["density"] != names[1]["density"]
    assert names[0]["capture"] == names[1]["capture"]


def test_a_run_of_a_version_that_left_it_open_goes_on_as_it_was(tmp_path, processor):
    processor(False)
    run = tmp_path / "run"
    assert not execute(asked(tmp_path), run, workers=0, quiet=True).failed
    (run / "cells" / "plan.json").unlink()
    (run / STUDY_FILE).write_text((run / STUDY_FILE).read_text().replace("precision: float32", "precision: auto"))
    processor(True)
    assert on_machine(asked(tmp_path), run, CPU).fit.precision == "auto"


def test_only_wide_candidates_are_trained_in_half_precision(tmp_path, processor):
    processor(True)
    plan = make_plan(on_machine(asked(tmp_path, density={"kind": "auto"}, fit={"updates": 2}), None, CPU))
    asked_for = as_kind(plan.cells[role(plan, "density", "logits", 1)])
    assert asked_for.fit["precision"] == "bfloat16"
    found = {kind: as_chosen(asked_for, offer(kind, (1, 4, 4), 3)).fit["precision"] for kind in CANDIDATES}
    assert found == {"window": "bfloat16", "pixelcnn": "float32"}
    on_gpu = {kind: as_chosen(asked_for, offer(kind, (1, 4, 4), 3), "cuda").fit["precision"] for kind in CANDIDATES}
    assert set(on_gpu.values()) == {"bfloat16"}


def test_a_measurement_decides_once_too(tmp_path, processor, monkeypatch, short):
    processor(True)
    density = {**WINDOW}
    monkeypatch.setitem(CANDIDATES, "window", lambda *_: Candidate(density, 16, 8e-3))
    images, labels = tiny_study.images_and_labels(80)
    options = {"layers": ["fc"], "levels": 3, "workers": 0, "quiet": True, "density": "auto", "kinds": ["nce"]}
    run = tmp_path / "run"
    measure(toy_networks.build(), images, labels, budget=2, refits=1, out=run, **options)
    assert stored(run).fit.precision == "bfloat16"
    before = {path.name for path in (run / "cells").iterdir()}
    processor(False)
    measure(toy_networks.build(), images, labels, budget=2, refits=1, out=run, **options)
    assert {path.name for path in (run / "cells").iterdir()} == before


def test_what_was_written_is_read_again(tmp_path, processor):
    processor(True)
    spec = on_machine(asked(tmp_path), None, CPU)
    path = tmp_path / "again.yaml"
    path.write_text(spec.to_yaml())
    assert load_study(str(path)) == spec
