"""Training in two processes: the losses of one with the same global batch, and the same weights in both."""

import json
import os
import subprocess
import sys
from pathlib import Path

import on_ranks
import pytest
import torch

from infoplane.inversion import FitSettings, joined


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What each of two processes, started by torchrun, found."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, str(Path(on_ranks.__file__)), str(folder)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("case", list(on_ranks.CASES))
def test_losses_are_those_of_one_process(two, case):
    curve, density = on_ranks.train(case, None)
    for rank in two:
        found = rank["cases"][case]
        for name in ("train", "heldout", "heldout_ema", "gradient"):
            assert found["curve"][name] == pytest.approx(getattr(curve, name), abs=1e-5, rel=0), name
        assert found["curve"]["start"] == pytest.approx(curve.start, abs=1e-5, rel=0)
        assert found["curve"]["updates"] == curve.updates == [3, 6, 9, 12]
        assert (found["curve"]["best_update"], found["curve"]["best"]) == (curve.best_update, curve.best)
        weights = torch.cat([p.detach().flatten().double() for p in density.parameters()])
        torch.testing.assert_close(torch.tensor(found["weights"], dtype=torch.float64), weights, atol=1e-4, rtol=1e-3)
    if "held" not in on_ranks.CASES[case]:
        assert curve.heldout[-1] < curve.start - 0.05  # something was learned, so there is something to compare


def test_both_processes_have_the_same_weights_to_the_bit(two):
    assert [(rank["rank"], rank["count"], rank["first"]) for rank in two] == [(0, 2, True), (1, 2, False)]
    for case in on_ranks.CASES:
        first, second = (rank["cases"][case] for rank in two)
        assert first["weights"] == second["weights"]
        assert first["curve"] == second["curve"]


def test_only_the_first_process_reports(two):
    assert {case["progress"] for case in two[0]["cases"].values()} == {on_ranks.UPDATES}
    assert {case["progress"] for case in two[1]["cases"].values()} == {0}


def test_with_dropout_both_still_agree_on_the_losses(two):
    assert two[0]["dropout"] == two[1]["dropout"]
    alone = on_ranks.train("vector", None, dropout=0.5)[0].train
    assert two[0]["dropout"] != pytest.approx(alone, abs=1e-3)  # the masks are others


def test_divergence_and_refusals_reach_every_process(two):
    for rank in two:
        assert "training diverged at step" in rank["diverged"]
        assert "smaller than the number of processes; received 1 for 2" in rank["refused"]


def test_one_process_alone_needs_no_torchrun(monkeypatch, refuses):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as ranks:
        assert (ranks.rank, ranks.count, ranks.first, ranks.device.type) == (0, 1, True, "cpu")
        curve, _ = on_ranks.train("vector", ranks)
        monkeypatch.setattr(on_ranks, "FitSettings", lambda **options: FitSettings(**options, minutes=1.0))
        with refuses("cannot train by time", "minutes 1"):
            on_ranks.train("vector", ranks)
    assert not torch.distributed.is_initialized()
    monkeypatch.undo()
    assert curve.heldout == pytest.approx(on_ranks.train("vector", None)[0].heldout, abs=1e-6)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there are GPUs")
def test_a_process_without_a_gpu_is_refused(refuses):
    with refuses("without a GPU", "nproc-per-node"), joined("cuda"):
        pass
