"""`infoplane clean`: what nothing names is listed first, and goes only on request; nothing else is touched."""

import os
import re
import shutil

import pytest

import tiny_study
from infoplane.engine.lock import locked
from infoplane.engine.plan import Plan
from infoplane.report.build import load_run
from tiny_study import command, contents


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """A run of which one capture was replaced as it grew; only to be copied."""
    folder = tmp_path_factory.mktemp("grown")
    study = tiny_study.write_study(folder)
    words = [study, "--out", folder / "run", "--workers", 0, "--quiet", "--refits", 1, "--set", "measure=[nce]"]
    from infoplane.cli import main

    for layers in ("[logits]", "[conv1,logits]"):
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in ("run", *words, "--set", f"layers={layers}")])
        assert stop.value.code == 0
    return folder / "run"


@pytest.fixture
def run(grown, tmp_path):
    return shutil.copytree(grown, tmp_path / "run")


def unnamed(run) -> set[str]:
    return {path.name for path in (run / "cells").iterdir() if path.is_dir()} - set(Plan.load(run).cells)


def test_it_says_what_it_would_free_and_frees_that_on_request(run, capsys):
    (old,) = unnamed(run)
    size = sum(path.stat().st_size for path in (run / "cells" / old).iterdir())
    before = contents(run)
    said = command(capsys, "clean", run)
    assert (said.code, said.err) == (0, "")
    line = next(line for line in said.out.splitlines() if line.startswith(old))
    assert re.split(r"  +", line) == [
        old,
        f"{size:,}",
        "replaced: settings changed: layers ['logits'] -> ['conv1', 'logits']",
    ]
    assert f"1 in all: {size:,} bytes" in said.out
    assert "nothing was deleted" in said.out
    assert contents(run) == before
    said = command(capsys, "clean", run, "--yes")
    assert (said.code, said.err) == (0, "")
    assert f"deleted 1: {size:,} bytes are free" in said.out
    assert contents(run) == {name: content for name, content in before.items() if f"/{old}/" not in name}
    assert load_run(run).damaged() == []
    assert "nothing to free" in command(capsys, "clean", run, "--yes").out


def test_what_is_not_ours_stays(run, capsys, tmp_path):
    cells, (old,) = run / "cells", unnamed(run)
    outside = tmp_path / "outside"
    shutil.copytree(cells / old, outside)
    (cells / "notes.txt").write_text("mine")
    (cells / "backup").mkdir()
    shutil.copytree(cells / old, cells / f"copy of {old} (2)")
    os.symlink(outside, cells / "density-fc-0123456789ab")  # a link by the name of a cell
    shutil.copytree(cells / old, cells / "mse-a-0123456789ab")
    (cells / "mse-a-0123456789ab" / "thesis.tex").write_text("mine")  # a file of one's own in a cell
    shutil.copytree(cells / old, cells / "mse-b-0123456789ab")
    os.symlink(outside / "result.json", cells / "mse-b-0123456789ab" / "link")
    (cells / "mse-c-0123456789ab").mkdir()  # no cell but for its name
    (cells / "mse-d-0123456789ab").mkdir()
    (cells / "mse-d-0123456789ab" / "result.json").write_text("{}")
    (run / "mine").mkdir()
    before = contents(run)
    said = command(capsys, "clean", run, "--yes")
    assert said.code == 0
    assert contents(run) == {name: content for name, content in before.items() if f"cells/{old}/" not in name}
    assert (outside / "result.json").is_file()
    assert len([line for line in said.err.splitlines() if line.startswith("left alone")]) == 8
    assert (cells / "density-fc-0123456789ab").is_symlink()


def test_tracebacks_and_half_written_cells_go_too(run, capsys):
    cells = run / "cells"
    (cells / "mse-a-0123456789ab.failed.txt").write_text("it broke\n")
    (cells / ".tmp-mse-a-0123456789ab-0123").mkdir()
    (cells / ".tmp-mse-a-0123456789ab-0123" / "result.json").write_text("{}")
    named = next(iter(Plan.load(run).cells))
    (cells / f"{named}.failed.txt").write_text("of a part that there is\n")
    said = command(capsys, "clean", run, "--yes")
    assert "deleted 3" in said.out
    assert {path.name for path in cells.iterdir()} == {
        *Plan.load(run).cells,
        "plan.json",
        ".lock",
        f"{named}.failed.txt",
    }


def test_nothing_goes_while_a_run_is_at_work(run, capsys):
    before = contents(run)
    with locked(run):
        said = command(capsys, "clean", run, "--yes")
    assert (said.code, len(said.err.splitlines())) == (2, 1)
    assert "another run is at work" in said.err
    assert contents(run) == before


@pytest.mark.parametrize("damage", ["plan", "link", "lock", "none"])
def test_what_cannot_be_told_is_refused(run, capsys, tmp_path, damage):
    if damage == "plan":  # edited, so that it names nothing
        path = run / "cells" / "plan.json"
        path.write_text(re.sub(r'"name": "density[^"]*"', '"name": "x"', path.read_text()))
    elif damage == "link":
        (run / "cells").rename(tmp_path / "elsewhere")
        os.symlink(tmp_path / "elsewhere", run / "cells")
    elif damage == "lock":
        (tmp_path / "precious").write_text("mine")
        (run / "cells" / ".lock").unlink()
        os.symlink(tmp_path / "precious", run / "cells" / ".lock")
    else:
        shutil.rmtree(run / "cells")
    before = contents(tmp_path)
    said = command(capsys, "clean", run, "--yes")
    assert (said.code, len(said.err.splitlines())) == (2, 1)
    assert contents(tmp_path) == before
