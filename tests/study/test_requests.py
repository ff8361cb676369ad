"""What cannot be met is refused before anything runs, and names what can; a default is no request."""

import builtins
import importlib
import sys
from pathlib import Path

import pytest

import tiny_study
from infoplane.cli.run import asked_study
from infoplane.engine import lock, plan
from infoplane.errors import UsageError
from infoplane.study.check import check
from infoplane.study.families import FAMILIES
from infoplane.study.load import load_study
from infoplane.study.plan import make_plan


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"contrastive.candidates": 41},
            ("contrastive.candidates is more", "41 of 40", "at most 40"),
        ),
        ({"contrastive.candidates": 100_000}, ("contrastive.candidates", "100,000 of 40")),
        ({"samples.images": 41}, ("samples.images is more than there are images", "41 of 40")),
        ({"samples.images": 40, "samples.each": 10_000}, ("too many samples", "400,000", "at most 100,000")),
        ({"samples.each": 1_000_000}, ("samples.each cannot be used", "a whole number from 1 to 100,000")),
        ({"samples.images": 1_000_000}, ("samples.images cannot be used",)),
        ({"fit.batch": 81}, ("fit.batch is more than there are images", "81 of 80", "data.decoding")),
        ({"reconstruction.batch": 81}, ("reconstruction.batch", "81 of 80")),
        ({"subject.train.batch": 41}, ("subject.train.batch", "41 of 40", "data.encoding")),
        ({"measure": []}, ("measure cannot be used", "received []", "a list of 1 or more")),
        ({"fit.refits": 10**6}, ("fit.refits cannot be used", "from 1 to 1,000")),
        ({"data.options.name": "truth"}, ("unknown option data.options.name", "set data.name")),
        ({"data.options.levls": 3}, ("unknown option data.options.levls of", "did you mean 'levels'?")),
        ({"subject.train.checkpoints": [5, "end"]}, ("checkpoint 5 lies beyond", "legal: 0 to 4, and end")),
    ],
)
def test_requests_that_cannot_be_met(tmp_path, refuses, changes, words):
    with refuses(*words):
        check(tiny_study.tiny(tmp_path, **{path.replace(".", "__"): value for path, value in changes.items()}))


def test_what_is_not_measured_is_no_request(tmp_path):
    check(tiny_study.tiny(tmp_path, measure=["nce"], contrastive__candidates=1000, samples__images=1000))


def test_a_default_is_no_request(tmp_path):
    # 64 candidates, where there are 40 images; what becomes of it is said beside the number.
    assert tiny_study.tiny(tmp_path, contrastive__candidates=64).contrastive.candidates == 64
    check(tiny_study.tiny(tmp_path, contrastive__candidates=64))


@pytest.mark.parametrize(("asked", "said"), [(30, "K = 4, not 30: 40 images make 10 batches of so many"), (4, "")])
def test_fewer_candidates_than_were_asked_for_are_said(tmp_path, capsys, asked, said):
    check(tiny_study.tiny(tmp_path, contrastive__candidates=asked))
    assert capsys.readouterr().err.strip() == (f"note: contrastive.candidates: {said}" if said else "")


def test_a_study_of_too_many_parts(tmp_path, refuses, monkeypatch):
    spec = tiny_study.tiny(tmp_path)
    monkeypatch.setattr(plan, "MOST_CELLS", len(make_plan(spec).cells))
    make_plan(spec)
    monkeypatch.setattr(plan, "MOST_CELLS", plan.MOST_CELLS - 1)
    with refuses("a study of too many parts", "fewer refits, layers or checkpoints"):
        make_plan(spec)


def test_batches_of_a_noisy_study(refuses):
    path = "spiral"
    with refuses("train.batch is more than there are training inputs"):
        FAMILIES["flow"].check(load_study(path, {"train.batch": 10_000}))


SCALED = tiny_study.STUDY + "scales: {{laptop: {{fit.updates: 2}}}}\n"


def test_a_resolved_study_runs_again_under_its_name_and_scale(tmp_path, refuses):
    spec = load_study(str(tiny_study.write_study(tmp_path, SCALED, "mine")))
    (tmp_path / "run").mkdir()
    kept = tmp_path / "run" / "study.yaml"
    kept.write_text(spec.to_yaml(), encoding="utf-8")
    again = load_study(str(kept))
    assert again == spec
    assert (again.name, again.scale, again.fit.updates) == ("mine", "laptop", 2)
    assert make_plan(again).cells.keys() == make_plan(spec).cells.keys()
    changed = asked_study(str(kept), None, ["fit.refits=1"], seed=None, refits=None)
    assert (changed.fit.refits, changed.scale) == (1, "laptop")
    with refuses("the scale is chosen, not set", "--set"):
        asked_study(str(kept), None, ["scale=paper"], seed=None, refits=None)
    with refuses("unknown scale of"):
        load_study(str(kept), scale="paper")
    # A file that leaves something to defaults is none that a run has kept.
    with refuses("the scale is chosen, not set"):
        load_study(str(tiny_study.write_study(tmp_path, tiny_study.STUDY + "scale: paper\n", "bogus")))


def test_everything_but_runs_works_without_posix_locks(tmp_path, monkeypatch):
    true = builtins.__import__

    def without(name, *rest, **others):
        if name == "fcntl":
            raise ImportError(name)
        return true(name, *rest, **others)

    monkeypatch.delitem(sys.modules, "fcntl", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    importlib.reload(lock)
    (tmp_path / "cells").mkdir()
    with pytest.raises(UsageError, match="Linux or macOS") as caught, lock.locked(tmp_path):
        pass
    assert "\n" not in str(caught.value)


def test_the_systems_that_are_supported_are_said():
    root = Path(__file__).parents[2]
    assert "Operating System :: POSIX :: Linux" in (root / "pyproject.toml").read_text()
    assert "runs on Linux and macOS" in (root / "README.md").read_text()
