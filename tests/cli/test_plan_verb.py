"""`infoplane plan`, `infoplane studies`, and a study's scale on the command line."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import infoplane
import official_files
import tiny_study
from infoplane.cli import plan as plan_verb
from infoplane.cli import studies as studies_verb
from infoplane.engine.plan import Plan
from infoplane.engine.schedule import START_UP
from infoplane.errors import UsageError, words
from infoplane.measurements.counting import Machine, Work
from infoplane.study.bench import Calibration
from infoplane.study.families import FAMILIES
from infoplane.study.forecast import FIXED, costs_of, work_of
from infoplane.study.load import load_study, named_studies, read_study, scales_of
from infoplane.study.meaning import Code
from infoplane.study.plan import make_plan
from tiny_study import command

SCALED = tiny_study.STUDY + "scales: {{laptop: {{fit.refits: 1}}}}\n"
#: the least that is a run
LITTLE = ["--set", "measure=[nce]", "--set", "layers=[logits]"]


@pytest.fixture(autouse=True)
def known_machine(monkeypatch):
    """A machine of a known speed: a microsecond per operation, nothing else."""
    monkeypatch.setattr(plan_verb, "fresh", lambda device: Calibration(Machine(1e-6), "known"))


def test_plan_names_parts_needs_operations_and_time(tmp_path, capsys):
    study = tiny_study.write_study(tmp_path, SCALED)
    said = command(capsys, "plan", study, "--scale", "paper", "--workers", 1)
    assert said.code == 0
    lines = {line.split()[0]: line for line in said.out.splitlines() if line.strip()}
    assert "density-conv1 (×2)" in lines["density-conv1"]
    assert "capture, data, subject" in lines["density-conv1"]
    spec = load_study(str(study), scale="paper")
    costs = work_of(make_plan(spec), costs_of(spec))
    total = sum(costs.values(), Work())
    printed = re.search(r"([\d.e+-]+) PFLOP", said.out)
    assert float(printed[1]) == pytest.approx(total.flops / 1e15, rel=0.01)
    assert f"{len(costs)} parts" in said.out
    assert not (tmp_path / "runs").exists()


def test_checkpoints_and_refits_of_a_layer_share_a_line(tmp_path, capsys):
    study = tiny_study.write_study(tmp_path, SCALED)
    said = command(capsys, "plan", study, "--scale", "paper", "--set", "subject.train.checkpoints=[0, 1, end]")
    names = [re.split(r"  +", line)[0] for line in said.out.splitlines() if line.startswith(("density", "capture"))]
    layers = [name for name in names if "input" not in name]
    assert layers == ["capture (×3)", "density-conv1 (×6)", "density-logits (×6)"]


def test_more_than_a_day_is_pointed_out_with_what_there_is(tmp_path, capsys, monkeypatch):
    study = tiny_study.write_study(tmp_path, SCALED)
    words = ["plan", study, "--workers", 1, "--device", "cpu", "--scale"]
    assert "more than a day" not in command(capsys, *words, "paper").out
    monkeypatch.setattr(plan_verb, "fresh", lambda device: Calibration(Machine(100.0), "known"))
    paper, laptop = (command(capsys, *words, scale).out.splitlines()[-1] for scale in ("paper", "laptop"))
    gpu = "--device cuda where there is a GPU"
    assert paper == f"more than a day here: a smaller scale (--scale laptop), or {gpu}"
    assert laptop == f"more than a day here: {gpu}"


def test_plan_at_another_scale_and_with_settings_has_fewer_parts(tmp_path, capsys):
    study = tiny_study.write_study(tmp_path, SCALED)

    def parts(*words) -> int:
        said = command(capsys, "plan", study, *words)
        assert said.code == 0, said.err
        return int(re.search(r"(\d+) parts", said.out)[1])

    assert parts("--scale", "paper") - parts() == 3  # one refit less of p(x) and of two layers
    assert parts() - parts("--set", "layers=[logits]") == 5  # density, mse, samples, judge and probe of the other


def test_studies_lists_every_study_at_every_scale(capsys, monkeypatch):
    monkeypatch.delenv("INFOPLANE_DATA", raising=False)
    monkeypatch.setattr("infoplane.data.catalogue.locate", lambda name: None)
    said = command(capsys, "studies", "--time")
    assert said.code == 0
    lines = [line.split() for line in said.out.splitlines()]
    listed = {(line[0], line[1]) for line in lines if line and line[0] in named_studies()}
    assert listed == {(name, scale) for name in named_studies() for scale in scales_of(name) or ["-"]}
    assert "data missing" in next(line for line in said.out.splitlines() if line.startswith("nash-layers"))


def test_it_says_where_studies_are_to_be_copied_from(capsys):
    said = command(capsys, "studies").out
    folder = Path(next(line for line in said.splitlines() if "to be copied" in line).partition(": ")[2])
    assert load_study(str(folder / "digits.yaml")) == load_study("digits")


def test_studies_are_listed_without_timing_loading_or_counting_anything(capsys, monkeypatch):
    def slow(*_, **__):
        raise AssertionError("this takes a while")

    monkeypatch.setattr(plan_verb, "fresh", slow)
    for kind, family in FAMILIES.items():
        monkeypatch.setitem(FAMILIES, kind, replace(family, check=slow, plan=slow, costs=slow))
    said = command(capsys, "studies")
    assert (said.code, said.err) == (0, "")
    assert {line.split()[0] for line in said.out.splitlines() if line} >= set(named_studies())
    assert "time here" not in said.out


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """The only data set that is here: 60 photographs in CINIC-10's layout, in a folder called photographs."""
    content = official_files.parted(per_class=7)
    official_files.write_parted(tmp_path / "data" / "photographs", content)
    monkeypatch.setenv("INFOPLANE_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("infoplane.data.catalogue.cache", lambda: tmp_path / "cache")


def test_studies_says_which_data_are_missing_and_what_is_there_instead(photographs, capsys):
    lines = command(capsys, "studies").out.splitlines()
    said = {line.split()[2].rstrip(","): line for line in lines if line.startswith("data missing")}
    assert said.keys() == {"mnist", "cinic10", "szt"}
    assert "of nash-layers: infoplane data --download mnist" in said["mnist"]
    assert "resnet-autoencoder, resnet-classifier" in said["cinic10"]
    assert "--set data.name=photographs takes photographs, which is here in the same layout" in said["cinic10"]


@pytest.mark.parametrize("verb", ["run", "plan"])
def test_missing_data_are_one_line_with_what_is_there_instead(photographs, tmp_path, capsys, verb):
    more = ["--out", tmp_path / "run"] if verb == "run" else []
    said = command(capsys, verb, "resnet-classifier", *more)
    assert (said.code, len(said.err.splitlines())) == (2, 1)
    assert "no files of data set 'cinic10'" in said.err
    assert "take photographs, which is here in the same layout (--set data.name=photographs)" in said.err


def test_the_time_of_what_is_there_instead(monkeypatch):
    def known(spec, machine, workers):
        if spec.data_name == "cinic10":
            raise UsageError("no files of it")
        return f"{spec.data_name} {spec.scale}"

    monkeypatch.setattr(studies_verb, "_expected", known)
    monkeypatch.setattr(studies_verb.catalogue, "stand_ins", lambda entry: ["photographs"])
    spec = load_study("resnet-classifier", scale="mid")
    found = studies_verb._time("resnet-classifier", "mid", spec, Machine(), 1)
    assert found == "photographs mid (photographs)"


def test_plan_decodes_no_picture(photographs, tmp_path, capsys, monkeypatch):
    study = tmp_path / "tiny.yaml"
    text = tiny_study.STUDY.replace(
        "encoding: 40, decoding: 80, evaluation: 40", "encoding: 10, decoding: 12, evaluation: 9"
    )
    study.write_text(text.format(data="photographs"))
    words = ["plan", study, "--workers", 1, "--device", "cpu"]
    with monkeypatch.context() as patch:
        whole = replace(FAMILIES["inversion"], outline=None)
        patch.setitem(FAMILIES, "inversion", whole)
        before = command(capsys, *words)
    assert before.code == 0, before.err
    monkeypatch.setattr("infoplane.data.cinic10.decode", lambda *_: pytest.fail("a picture was decoded"))
    assert command(capsys, *words).out == before.out


def test_run_takes_a_scale_and_names_the_folder_after_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = tiny_study.write_study(tmp_path, SCALED)
    said = command(capsys, "run", study, "--workers", 0, "--quiet", *LITTLE)
    assert said.code == 0, said.err
    assert read_study(tmp_path / "runs" / "tiny-laptop" / "study.yaml").fit.refits == 1


def test_bad_scales_are_one_line(tmp_path, capsys):
    for verb in ("run", "plan"):
        said = command(capsys, verb, tiny_study.write_study(tmp_path, SCALED), "--scale", "desktop")
        assert said.code == 2
        assert said.err.startswith("infoplane: unknown scale")
        assert len(said.err.splitlines()) == 1


def test_an_engine_that_is_not_there_is_one_line(tmp_path, capsys):
    said = command(capsys, "run", tiny_study.write_study(tmp_path), "--engine", "cluster", "--out", tmp_path / "run")
    assert (said.code, len(said.err.splitlines())) == (2, 1)
    assert "unknown engine; received 'cluster'; legal: local" in said.err
    assert not (tmp_path / "run").exists()


def test_tensorboard_on_the_command_line(tmp_path, capsys):
    study = tiny_study.write_study(tmp_path)
    words = ["--workers", 0, "--quiet", "--tensorboard", "--out", tmp_path / "run", *LITTLE]
    said = command(capsys, "run", study, *words)
    assert said.code == 0, said.err
    assert list((tmp_path / "run" / "tensorboard").glob("events.out.tfevents.*"))


def test_the_machine_is_timed_for_real(monkeypatch):
    monkeypatch.undo()
    state = torch.get_rng_state()
    assert plan_verb.known_speeds(torch.device("cpu")).machine.seconds(Work(1000, 1e9, 1e6)) > 0
    assert torch.equal(torch.get_rng_state(), state)


def test_plan_for_other_images_and_devices(tmp_path, capsys):
    study = tiny_study.write_study(tmp_path, SCALED)
    spec = load_study(str(study), scale="paper")
    said = command(capsys, "plan", study, "--scale", "paper", "--images", 16_000, "--tflops", 1e-3, "--workers", 1)
    assert said.code == 0, said.err
    work = work_of(make_plan(spec), costs_of(spec, images=16_000))
    seconds = sum(each.flops for each in work.values()) / 1e9
    assert f"about {words(seconds + START_UP + FIXED * len(work))} on such devices, one process" in said.out
    assert "0.001 TFLOP a second, as given" in said.out
    # Nothing was timed: what is known of the device was given.
    assert "timing" not in said.err


def test_plan_says_what_takes_longest_and_what_is_stored(tmp_path, capsys):
    study = tiny_study.write_study(tmp_path, SCALED)
    said = command(capsys, "plan", study, "--scale", "paper", "--workers", 1)
    found = re.search(r"bottleneck: (\w+), (\d+) % of all time; with any number of processes at least (.+)", said.out)
    spec = load_study(str(study), scale="paper")
    plan = make_plan(spec)
    seconds = {name: work.operations * 1e-6 + FIXED for name, work in work_of(plan, costs_of(spec)).items()}
    kinds = {}
    for name, cell in plan.cells.items():
        kinds[cell.kind] = kinds.get(cell.kind, 0.0) + seconds[name]
    assert found[1] == max(kinds, key=kinds.get)
    assert int(found[2]) == round(100 * max(kinds.values()) / sum(seconds.values()))
    assert re.search(r"about [\d.]+ [kMG]B in the run's folder, most of it \w+ \(", said.out)


def test_a_noisy_study_has_no_images(capsys):
    said = command(capsys, "plan", "noisy-neuron", "--images", 100)
    assert said.code == 2
    assert "--images for a study without images" in said.err


# ---- beside what a run's folder holds ----


def rows(out: str) -> dict[str, str]:
    """Part -> what is said of it."""
    table = [re.split(r"  +", line.strip()) for line in out.split("\n\n")[0].splitlines()[1:]]
    return {part: why for part, _, why in table}


def test_plan_says_what_a_folder_holds_and_why_the_rest_would_be_computed(tmp_path, capsys):
    study, out = tiny_study.write_study(tmp_path), tmp_path / "run"
    less = ["--set", "layers=[logits]", "--refits", 1]
    new = command(capsys, "plan", study, "--out", out, *less, "--workers", 1)
    assert set(rows(new.out).values()) == {"new"}
    assert not out.exists()
    assert command(capsys, "run", study, "--out", out, *less, "--workers", 0, "--quiet").code == 0
    before = tiny_study.contents(out)
    same = command(capsys, "plan", study, "--out", out, *less, "--workers", 1)
    assert set(rows(same.out).values()) == {"stored"}
    assert "10 of 10 parts are stored, 0 would be computed" in same.out
    assert "about" not in same.out
    grown = rows((said := command(capsys, "plan", study, "--out", out, "--workers", 1)).out)
    assert grown["density-logits-r1"] == grown["data"] == grown["mse-logits"] == "stored"
    assert grown["density-logits-r2"] == "new: another refit"
    assert grown["density-conv1 (×2)"] == grown["probe-conv1"] == "new: another layer"
    assert grown["capture"] == "settings changed: layers ['logits'] -> ['conv1', 'logits']"
    assert "9 of 18 parts are stored, 9 would be computed" in said.out
    assert "for these on cpu, one process" in said.out
    assert "refuses" not in said.out
    more = ["--set", "subject.train.checkpoints=[1, end]", *less]
    assert rows(command(capsys, "plan", study, "--out", out, *more).out)["density-logits-at1-r1"] == (
        "new: another checkpoint"
    )
    assert tiny_study.contents(out) == before
    # What runs then is as many as were said.
    ran = command(capsys, "run", study, "--out", out, "--workers", 0)
    assert ran.code == 0
    assert "9 of 18 parts to compute" in ran.err


def test_plan_says_what_run_would_refuse(tmp_path, capsys):
    study, out = tiny_study.write_study(tmp_path), tmp_path / "run"
    words = ["--out", out, "--refits", 1, "--set", "measure=[nce,samples]"]
    assert command(capsys, "run", study, *words, "--workers", 0, "--quiet").code == 0
    said = command(capsys, "plan", study, *words, "--set", "fit.updates=4")
    found = rows(said.out)
    assert said.code == 0
    assert found["density-conv1-r1"] == "settings changed: fit.updates 3 -> 4"
    assert found["samples-conv1"] == "needs changed: density"
    assert found["capture"] == "stored"
    assert "infoplane run refuses this folder" in said.out
    assert "fit.updates is 3 there, 4 here" in said.out
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    said = command(capsys, "plan", study, "--out", tmp_path / "other")
    assert (said.code, len(said.err.splitlines())) == (2, 1)
    assert "holds no run" in said.err


def test_plan_names_the_module_that_changed_damage_and_failures(tmp_path, capsys, monkeypatch):
    study, out = tiny_study.write_study(tmp_path), tmp_path / "run"
    words = ["--out", out, "--refits", 1, "--set", "measure=[nce,mse]", "--set", "layers=[logits]"]
    failing = [*words, "--set", "reconstruction.learning_rate=1e30"]
    assert command(capsys, "run", study, *failing, "--workers", 0, "--quiet").code == 1
    assert rows(command(capsys, "plan", study, *failing).out)["mse-logits"].startswith("failed before: ")
    name = Plan.load(out).name("density", "logits", 1, "end")
    (out / "cells" / name / "result.json").write_text("{}")
    assert rows(command(capsys, "plan", study, *failing).out)["density-logits-r1"] == "what is stored is damaged"
    copy = tmp_path / "copy" / "infoplane"
    shutil.copytree(Path(infoplane.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    fit = copy / "inversion" / "fit.py"
    fit.write_text(fit.read_text() + "\nNOTHING = 1\n")
    monkeypatch.setattr("infoplane.study.plan.code_of", lambda _: Code(copy))
    found = rows(command(capsys, "plan", study, *failing).out)
    assert found["density-input-r1"] == "code changed: inversion.fit"
    assert found["data"] == "stored"
