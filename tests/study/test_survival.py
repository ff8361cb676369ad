"""A run's folder survives: processes that are killed, bytes that flip, a disk that fills, two runs at once."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tiny_study
from infoplane.engine.lock import locked
from infoplane.engine.plan import Plan
from infoplane.engine.store import Store
from infoplane.errors import CellError
from infoplane.study.execute import execute
from infoplane.study.load import read_study
from tiny_study import contents, events

#: how often a run is killed, and in how many folders at once
KILLS, CHAINS = 20, 2

#: `known-truth` at its smallest
SMALLEST = {
    "data.options": "{n: 240, seed: 1}",
    "data.encoding": 80,
    "data.decoding": 100,
    "data.evaluation": 60,
    "subject.train.updates": 5,
    "density.width": 8,
    "fit.updates": 4,
    "fit.base_updates": 4,
    "fit.batch": 16,
    "fit.evaluations": 1,
    "fit.held_out": 0.1,
    "reconstruction.updates": 3,
    "contrastive": "{candidates: 4, batches: 3}",
    "samples": "{images: 2, each: 1}",
}


def start(folder: Path, workers: int = 1) -> subprocess.Popen:
    """Starts `infoplane run` on its own, as the leader of a group of processes."""
    settings = [word for key, value in SMALLEST.items() for word in ("--set", f"{key}={value}")]
    words = ["run", "known-truth", "--out", str(folder), "--workers", str(workers), "--quiet", *settings]
    return subprocess.Popen(
        [sys.executable, "-m", "infoplane", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(folder: Path) -> None:
    """Runs to the end."""
    process = start(folder)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()


def sound(folder: Path) -> dict[str, float]:
    """Returns the cells that are stored whole, with the time of their last change."""
    store, found = Store(folder / "cells"), {}
    for path in (folder / "cells").glob("[!.]*/checksums.json"):
        store.load(path.parent.name).check()  # a finished cell is never half-written
        found[path.parent.name] = path.stat().st_mtime
    return found


@pytest.mark.kill
@pytest.mark.parametrize("chain", range(CHAINS))
def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(tmp_path, chain):
    begun = time.monotonic()
    finish(tmp_path / "whole")
    seconds = time.monotonic() - begun
    whole = contents(tmp_path / "whole")
    rng, folder, round_, kept = random.Random(chain), tmp_path / "round-0", 0, {}
    for kill in range(chain * KILLS // CHAINS, (chain + 1) * KILLS // CHAINS):
        process = start(folder, workers=1 + kill % 4 // 2)
        time.sleep(rng.uniform(0, seconds))
        if kill % 2:
            process.kill()  # its workers find out by themselves
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
        if not (folder / "cells").is_dir():
            continue
        now = sound(folder)
        assert all(now[cell] == changed for cell, changed in kept.items())  # nothing stored is computed twice
        kept = now
        if (folder / "report.html").exists():
            compare(folder, whole, kept)
            round_, kept = round_ + 1, {}
            folder = tmp_path / f"round-{round_}"
    compare(folder, whole, kept)


def compare(folder: Path, whole: dict[str, bytes], kept: dict[str, float]) -> None:
    """Finishes a run that was killed and compares it with the one that was not."""
    finish(folder)
    assert all(sound(folder)[cell] == changed for cell, changed in kept.items())
    after = contents(folder)
    # Times are in the log and on the page; everything else is the same to the last bit.
    same = [name for name in whole if name.startswith("cells") or name.endswith((".csv", ".parquet", ".yaml"))]
    assert any(name.startswith("truths") for name in same)
    assert {name: after.get(name) for name in same} == {name: whole[name] for name in same}
    assert not [name for name in after if ".tmp-" in name]


def test_a_flipped_byte_is_found_and_computed_anew(finished, tmp_path, capsys):
    spec, before = read_study(finished / "study.yaml"), contents(finished / "cells")
    rng = random.Random(0)
    files = [name for name in before if name.count("/") == 1]
    for name in [next(n for n in files if n.startswith(kind)) for kind in ("data", "capture", "density", "probe")]:
        folder = tmp_path / name.replace("/", "-")
        shutil.copytree(finished, folder)
        damaged = bytearray(before[name])
        place = rng.randrange(len(damaged))
        damaged[place] ^= 1 << rng.randrange(8)
        (folder / "cells" / name).write_bytes(damaged)
        count = len(events(folder))
        assert not execute(spec, folder, workers=0).failed
        cell = name.partition("/")[0]
        assert f"computing anew what is damaged: {cell}" in capsys.readouterr().err
        assert contents(folder / "cells") == before
        started = {event["cell"] for event in events(folder)[count:] if event["event"] == "start"}
        assert started == ({cell} if not cell.startswith("data") else set())  # the data are loaded by every run


def test_what_a_killed_run_left_half_written_is_removed(finished, copy):
    left = copy / "cells" / ".tmp-density-x-abc"
    left.mkdir()
    (left / "result.json").write_text("{")
    (copy / "cells" / ".tmp-plan.json").write_text("{")
    with (copy / "events.jsonl").open("a") as file:
        file.write('{"time": 1, "ev')
    execute(read_study(copy / "study.yaml"), copy, workers=0, quiet=True)
    assert contents(copy / "cells") == contents(finished / "cells")
    lines = (copy / "events.jsonl").read_text().splitlines()
    assert '"event": "run"' in lines[-1]  # on a line of its own


@pytest.mark.parametrize("left", [(), ("cells",), ("cells", "cells/plan.json"), ("cells", "cells/.lock")])
def test_a_run_killed_before_its_study_was_written_can_be_begun_again(finished, tmp_path, left):
    spec, folder = read_study(finished / "study.yaml"), tmp_path / "run"
    folder.mkdir()
    for name in left:
        (folder / name).mkdir() if name == "cells" else (folder / name).write_text("{")
    assert not execute(spec, folder, workers=0, quiet=True).failed
    assert contents(folder / "cells") == contents(finished / "cells")


HOLD = """
import sys, time
from pathlib import Path
from infoplane.engine.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


AT_ONCE = """
import sys, time
from pathlib import Path
from infoplane.study import execute
from infoplane.cli import main

ready = Path(sys.argv[3])
look = execute.check_folder

def meet(*arguments):
    look(*arguments)
    ready.write_text("")
    while not all(path.exists() for path in (ready.parent / "ready0", ready.parent / "ready1")):
        time.sleep(0.01)

execute.check_folder = meet
main(["run", sys.argv[1], "--out", sys.argv[2], "--workers", "1", "--quiet"])
"""


def test_a_second_run_in_the_same_folder_is_refused_while_the_first_lives(copy, refuses):
    spec, before = read_study(copy / "study.yaml"), contents(copy)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(copy)], stdout=subprocess.PIPE, text=True) as first:
        try:
            assert first.stdout is not None
            assert first.stdout.readline() == "held\n"
            with refuses("another run is at work in this folder", f"process {first.pid}"):
                execute(spec, copy, workers=0, quiet=True)
            assert contents(copy) == before
        finally:
            first.kill()
    execute(spec, copy, workers=0, quiet=True)  # nothing has to be cleared away


LATE = """
import fcntl, sys, time
with open(sys.argv[1], "a+") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    if sys.argv[2] == "says":
        time.sleep(0.3)
        file.write("1")
        file.flush()
    time.sleep(60)
"""


@pytest.mark.parametrize(("owner", "words"), [("says", "wait for process 1 to end"), ("silent", "wait for it to end")])
def test_a_run_that_has_not_said_its_number_yet(copy, refuses, capsys, owner, words):
    path = copy / "cells" / ".lock"
    path.write_text("")
    arguments = [sys.executable, "-c", LATE, str(path), owner]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as first:
        try:
            assert first.stdout is not None
            assert first.stdout.readline() == "held\n"
            with refuses("another run is at work in this folder", words), locked(copy):
                pass
        finally:
            first.kill()
    assert "interrupted" not in capsys.readouterr().err


def test_workers_of_a_killed_run_are_waited_for(copy, capsys):
    """A process that inherited the lock outlives its owner for a second; the next run waits for it."""
    script = HOLD.replace(
        "    print", "    import os\n    if os.fork() == 0:\n        time.sleep(2)\n        os._exit(0)\n    print"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(copy)], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        first.kill()
        first.wait()
        begun = time.monotonic()
        execute(read_study(copy / "study.yaml"), copy, workers=0, quiet=False)
        assert time.monotonic() - begun > 0.5
    assert "waiting for a worker of an interrupted run" in capsys.readouterr().err


@pytest.mark.slow
def test_of_two_runs_that_begin_at_once_one_is_refused(tmp_path):
    """Both have looked at the folder before either holds it: the one that comes second leaves all as it is."""
    study = tiny_study.write_study(tmp_path)
    begun = [
        subprocess.Popen(
            [sys.executable, "-c", AT_ONCE, str(study), str(tmp_path / "run"), str(tmp_path / f"ready{i}")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for i in range(2)
    ]
    said = [process.communicate(timeout=300) for process in begun]
    codes = sorted(process.returncode for process in begun)
    assert codes == [0, 2], said
    (refused,) = (errors for (_, errors), process in zip(said, begun, strict=True) if process.returncode == 2)
    assert len(refused.splitlines()) == 1
    assert "another run is at work in this folder" in refused
    spec = read_study(tmp_path / "run" / "study.yaml")
    before = contents(tmp_path / "run" / "cells")
    assert not execute(spec, tmp_path / "run", workers=0, quiet=True).failed
    assert contents(tmp_path / "run" / "cells") == before  # all was there


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_who_waits_for_a_killed_run_may_be_stopped_too(copy, how):
    """Its folder is then as if it had never come; whoever comes next waits in its place."""
    script = HOLD.replace(
        "    print", "    import os\n    if os.fork() == 0:\n        time.sleep(60)\n        os._exit(0)\n    print"
    )
    before = contents(copy)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(copy)], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        first.kill()
        first.wait()
        waiting = subprocess.Popen(
            [sys.executable, "-m", "infoplane", "run", str(copy / "study.yaml"), "--out", str(copy), "--workers", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert waiting.stderr is not None
        line = waiting.stderr.readline()
        assert line == "waiting for a worker of an interrupted run to end\n"
        waiting.send_signal(how)
        _, errors = waiting.communicate(timeout=60)
        os.killpg(first.pid, signal.SIGKILL)  # the worker that outlived it
    assert waiting.returncode == (130 if how == signal.SIGINT else -how)
    assert "Traceback" not in errors
    assert contents(copy) == before
    assert not execute(read_study(copy / "study.yaml"), copy, workers=0, quiet=True).failed


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_is_one_line_and_leaves_a_store_that_opens(finished, tmp_path, refuses):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        spec, folder = read_study(finished / "study.yaml"), disk / "run"
        for workers in (0, 1):
            with refuses("no space left on the disk", str(folder), "what is stored is kept", error=CellError):
                execute(spec, folder, workers=workers, quiet=True)
            stored = sound(folder)
            assert 0 < len(stored) < len(Plan.load(folder).cells)
        subprocess.run(["mount", "-o", "remount,size=50m", disk], check=True)
        assert not execute(spec, folder, workers=0, quiet=True).failed
        assert all(sound(folder)[cell] == changed for cell, changed in stored.items())
        assert contents(folder / "cells") == contents(finished / "cells")
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)  # maps of files may outlive their use
