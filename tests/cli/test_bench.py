"""`infoplane bench`: what it prints and writes, what it keeps for `plan` and `run`, and what it refuses."""

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

import tiny_study
from infoplane.cli import bench as bench_verb
from infoplane.cli import plan as plan_verb
from infoplane.engine.schedule import finished
from infoplane.errors import words
from infoplane.measurements.counting import Machine, Work
from infoplane.study import bench
from infoplane.study.forecast import costs_of, seconds_of, work_of
from infoplane.study.load import load_study
from infoplane.study.plan import make_plan
from tiny_study import command

CPU = torch.device("cpu")
#: where speeds are kept, which tests do not look at otherwise
PLACE = bench.place
#: a machine whose speed no other has
KNOWN = Machine(per_operation=7e-5, per_flop=3e-10, per_written=2e-9, per_call=4e-6, per_visit=1e-6)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """The user's cache, empty."""
    monkeypatch.setattr(bench, "place", PLACE)
    monkeypatch.setattr(bench.catalogue, "cache", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def short(cache, monkeypatch) -> list[bench.Job]:
    """Three jobs that take no time, instead of all."""
    chosen = [
        bench.of_density("training", bench.SMALL, 4, 2),
        bench.of_density("scoring", bench.SMALL, 6),
        bench.of_density("sampling", bench.SMALL, 2),
    ]
    monkeypatch.setattr(bench_verb, "jobs", lambda quick: chosen[:2] if quick else chosen)
    monkeypatch.setattr(bench_verb, "QUICK", 0.0)
    monkeypatch.setattr(bench_verb, "WHOLE", 0.0)
    return chosen


def test_every_job_has_its_line_with_rate_unit_and_time(short, capsys):
    said = command(capsys, "bench", "--device", "cpu")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0].startswith("cpu: one of ")
    assert f"torch {torch.__version__.partition('+')[0]}" in lines[0]
    assert lines[1].split() == ["per", "second", "measured", "in"]
    for job, line in zip(short, lines[2:], strict=False):
        assert line.startswith(job.what)
        found = re.fullmatch(rf".*{re.escape(job.on)} +([\d,.]+) +images +([\d.]+) s", line)
        assert found, line
        assert float(found[1].replace(",", "")) > 0
    assert "in all" in said.out
    assert "8×8×1, 8 filters, 1 layer, batch 4" in said.out


def test_json_holds_what_was_printed_and_what_it_was_found_from(short, tmp_path, capsys):
    said = command(capsys, "bench", "--device", "cpu", "--json", tmp_path / "bench.json")
    (found,) = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert found["machine"] == bench.this_machine(CPU)
    assert not found["quick"]
    assert [row["what"] for row in found["timings"]] == ["training", "scoring", "sampling"]
    assert [row["amount"] for row in found["timings"]] == [8, 6, 2]
    for row in found["timings"]:
        assert row["per_second"] == pytest.approx(row["amount"] / row["seconds"])
        # Both clocks run at the same pace: what one job takes was spent at least once.
        assert 0 < row["seconds"] <= row["took"] + 0.01
        assert bench_verb._rounded(row["per_second"]) in said.out
    assert found["timings"][0]["work"]["flops"] > 0
    assert found["timings"][2]["work"].keys() == {"calls", "flops", "written"}
    assert found["seconds"].keys() == {field.name for field in fields(Machine)}
    assert min(found["seconds"].values()) >= 0
    assert found["seconds"]["per_visit"] == 0  # nothing was timed that makes any


def test_quick_leaves_jobs_out_and_says_so(short, cache, tmp_path, capsys):
    command(capsys, "bench", "--device", "cpu", "--quick", "--json", tmp_path / "bench.json")
    (found,) = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert found["quick"]
    assert len(found["timings"]) == 2
    assert "bench --quick measured" in bench.stored(CPU).source


def test_the_quick_jobs_are_those_of_small_densities_and_of_mixtures():
    whole, quick = bench.jobs(), bench.jobs(quick=True)
    left_out = [job for job in whole if job.what not in {each.what for each in quick} or job.on not in map(_on, quick)]
    assert len(whole) - len(quick) == len(left_out)
    assert {job.on for job in left_out} == {"28×28×1, 64 filters, 3 layers, batch 16"}
    assert {job.what for job in left_out} == {"training", "scoring", "sampling"}


def _on(job):
    return job.on


def test_state_of_the_caller_is_left_as_it_was(short, capsys):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    command(capsys, "bench", "--device", "cpu")
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


# ---- what it keeps ----


def test_plan_goes_by_what_bench_has_kept(short, tmp_path, capsys, monkeypatch):
    study = tiny_study.write_study(tmp_path)
    monkeypatch.setattr(plan_verb, "fresh", lambda device: bench.Calibration(Machine(1.0), "timed just now"))
    before = command(capsys, "plan", study, "--workers", 1)
    assert "speeds: timed just now" in before.out
    assert "timing a few small jobs" in before.err
    assert command(capsys, "bench", "--device", "cpu").code == 0
    after = command(capsys, "plan", study, "--workers", 1)
    assert re.search(r"speeds: as infoplane bench measured this machine, \d{4}-\d\d-\d\d", after.out)
    assert after.err == ""


def test_what_was_kept_is_what_is_reckoned_with(cache, tmp_path, capsys):
    study = tiny_study.write_study(tmp_path)
    bench.keep(CPU, KNOWN, quick=False)
    assert bench.stored(CPU).machine == KNOWN
    spec = load_study(str(study))
    plan = make_plan(spec)
    seconds = finished(plan.cells.values(), seconds_of(work_of(plan, costs_of(spec)), KNOWN), 1)
    said = command(capsys, "plan", study, "--workers", 1)
    assert f"about {words(seconds)} on cpu, one process" in said.out


@pytest.mark.parametrize(
    "change",
    [
        {"processor": "another"},
        {"cores": 4096},
        {"torch": "2.0.0"},
        {"infoplane": "0.0.0"},
        {"device": "NVIDIA H100"},
    ],
)
def test_speeds_of_another_machine_or_version_are_not_used(cache, monkeypatch, change):
    here = bench.this_machine(CPU)
    assert change.items() - here.items(), "the test changes something"
    bench.keep(CPU, KNOWN, quick=False)
    monkeypatch.setattr(bench, "this_machine", lambda device: {**here, **change})
    assert bench.stored(CPU) is None


def test_the_version_holds_the_code_that_is_timed(cache, monkeypatch):
    here = bench.this_machine(CPU)["infoplane"]
    monkeypatch.setattr(bench, "_TIMED", (*bench._TIMED, "infoplane.subjects.resnet"))
    assert bench.this_machine(CPU)["infoplane"] != here


def content(**changes) -> bytes:
    """A file of this machine's speeds in which some of its fields are others, or are not there: ABSENT."""
    good = {"machine": bench.this_machine(CPU), "source": "infoplane bench", "seconds": SPEEDS}
    return json.dumps({key: value for key, value in (good | changes).items() if value is not ABSENT}).encode()


SPEEDS, ABSENT = {field.name: 1e-6 for field in fields(Machine)}, object()
#: what a file may hold, made when it is asked for: to know the machine and the code takes seconds
DAMAGES = {
    "empty": lambda: b"",
    "cut": lambda: content()[:-40],
    "no text": lambda: b"\xff\xfe\x00\x81",
    "a list": lambda: b"[1, 2]",
    "null": lambda: b"null",
    "no speeds": lambda: content(seconds=None),
    "a speed missing": lambda: content(seconds={k: v for k, v in SPEEDS.items() if k != "per_call"}),
    "a speed that is no number": lambda: content(seconds={**SPEEDS, "per_flop": "fast"}),
    "negative": lambda: content(seconds={**SPEEDS, "per_flop": -1e-9}),
    "not finite": lambda: content(seconds={**SPEEDS, "per_flop": float("nan")}),
    "endless": lambda: content(seconds={**SPEEDS, "per_flop": float("inf")}),
    "all zero": lambda: content(seconds=dict.fromkeys(SPEEDS, 0)),
    "no source": lambda: content(source=ABSENT),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_as_good_as_none(cache, damage):
    path = bench.keep(CPU, KNOWN, quick=False)
    assert bench.stored(CPU) is not None
    path.write_bytes(DAMAGES[damage]())
    assert bench.stored(CPU) is None
    # The next measurement mends it.
    bench.keep(CPU, KNOWN, quick=False)
    assert bench.stored(CPU).machine == KNOWN


def test_plan_with_a_damaged_file_times_the_machine(cache, tmp_path, capsys, monkeypatch):
    bench.keep(CPU, KNOWN, quick=False).write_bytes(DAMAGES["cut"]())
    monkeypatch.setattr(plan_verb, "fresh", lambda device: bench.Calibration(KNOWN, "timed just now"))
    said = command(capsys, "plan", tiny_study.write_study(tmp_path), "--workers", 1)
    assert said.code == 0
    assert "speeds: timed just now" in said.out


def test_the_damages_are_of_a_file_that_would_be_read(cache):
    path = bench.keep(CPU, KNOWN, quick=False)
    path.write_bytes(content())
    assert bench.stored(CPU) is not None


def test_a_cache_that_cannot_be_written_is_said_and_ends_nothing(short, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(bench.catalogue, "cache", lambda: tmp_path / "file")
    said = command(capsys, "bench", "--device", "cpu")
    assert said.code == 0
    assert said.err.startswith("these speeds cannot be kept for plan and run: ")
    assert len(said.err.splitlines()) == 1
    assert "8 filters" in said.out


# ---- devices, memory, errors ----


def test_without_a_device_all_that_there_are_are_measured(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [device.type for device in bench_verb._devices("auto")] == ["cpu", "cuda"]
    assert [device.type for device in bench_verb._devices("cuda")] == ["cuda"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [device.type for device in bench_verb._devices("auto")] == ["cpu"]


def test_what_needs_more_memory_than_there_is_is_left_out(short, capsys, monkeypatch):
    monkeypatch.setattr(bench_verb, "jobs", lambda quick: [replace(short[0], memory=1e9), short[1]])
    said = command(capsys, "bench", "--device", "cpu")
    assert said.code == 0
    assert said.err == f"left out: training, {short[0].on} needs 1e+09 GiB of memory\n"
    assert "scoring" in said.out
    assert not any(line.startswith("training") for line in said.out.splitlines())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "tpu"], "unknown device; received 'tpu'; legal: auto, cpu, cuda"),
        (["--device", "cuda"], "no GPU here"),
        (["--device", "cpu", "--json", "nowhere/bench.json"], "cannot write the measurements"),
        (["--device", "cpu", "--json", "."], "cannot write the measurements"),
        (["--speed"], "--speed"),
    ],
)
def test_errors_are_one_line_before_anything_is_measured(home, call, monkeypatch, words, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(bench_verb, "jobs", lambda quick: pytest.fail("something was measured"))
    said = call("bench", *words)
    assert (said.code, said.out) == (2, "")
    assert len(said.err.splitlines()) == 1
    assert message in said.err


@pytest.mark.parametrize(
    ("rate", "said"), [(12345.6, "12,300"), (123.4, "123"), (12.34, "12.3"), (0.01234, "0.0123"), (1e6, "1,000,000")]
)
def test_rates_have_three_digits(rate, said):
    assert bench_verb._rounded(rate) == said


# ---- the jobs ----


def test_every_quick_job_gives_a_time_and_work_of_its_kind():
    passes = {"operations", "flops", "written"}
    parts = {
        "training": passes,
        "scoring": passes,
        "sampling": {"calls", "flops", "written"},
        "sample propagation": {"visits"},
    }
    found = [job.time(CPU, 0.0) for job in bench.jobs(quick=True)]
    for job, seconds, _, work in found:
        assert {name for name, amount in vars(work).items() if amount} == parts[job.what], job.on
        assert seconds > 0
    machine = bench.speeds(found)
    assert min(vars(machine).values()) >= 0
    for part in (Work(operations=1, flops=1, written=1), Work(calls=1, flops=1, written=1), Work(visits=1)):
        assert machine.seconds(part) > 0


def test_the_first_run_counts_only_where_it_takes_long(monkeypatch):
    def timed(patience: float) -> float:
        now, taken = [0.0], iter([5.0, 1.0, 3.0, 2.0, 9.0])
        monkeypatch.setattr(bench.time, "thread_time", lambda: now[0])

        def run() -> None:
            now[0] += next(taken)

        return bench._repeated(run, CPU, patience)

    assert timed(4.0) == 5.0
    assert timed(10.5) == 1.0  # of 1, 3 and 2


def test_training_is_timed_whole_as_it_is_counted():
    job = bench.of_density("training", bench.SMALL, 4, 3)
    run, work = job.make(CPU)
    assert run().updates == [3]
    more = bench.of_density("training", bench.SMALL, 4, 5).make(CPU)[1]
    costs = bench.Costs((1, 8, 8), 17, {}, {})
    spec = {"kind": "pixelcnn", "filters": 8, "residual_layers": 1, "scales": 1, "dropout": 0.2, "weight_norm": False}
    assert more.flops - work.flops == pytest.approx(2 * costs.step(spec, None, 4).flops)
    # One image is held out: scored at the start, and with raw and averaged weights at the end.
    assert work.flops - 3 * costs.step(spec, None, 4).flops == pytest.approx(3 * costs.scoring(spec, None).flops)
