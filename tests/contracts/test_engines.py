"""What every registered engine keeps to: an entry of the registry brings these tests."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from toy_cells import RUNNER, plan_of

from infoplane.engine.plan import PLAN_FILE
from infoplane.engine.run import run_cells
from infoplane.engine.store import Store
from infoplane.engine.watch import Watcher
from infoplane.study.execute import ENGINES
from plugin_site import SITE, visible
from tiny_study import contents

#: a square: the last one needs both in the middle
SQUARE = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}
with visible():
    EVERY = pytest.mark.parametrize("engine", [name for name, _ in ENGINES.items()])


@pytest.fixture(autouse=True)
def found_elsewhere(monkeypatch):
    """Other processes find what this one has on its path."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), str(SITE), *filter(None, sys.path)]))


class Heard(Watcher):
    """What is told, and an engine that says when it is closed."""

    def __init__(self, engine: str, *, stop: str = "") -> None:
        self.events, self.engines, self._made, self._stop = [], [], ENGINES[engine], stop

    def event(self, event) -> None:
        self.events.append(event)
        if event.get("event") == self._stop:
            raise KeyboardInterrupt

    def of(self, kind: str) -> list[str]:
        return [event["cell"] for event in self.events if event.get("event") == kind]

    def start(self, *arguments):
        """In the place of the engine: the engine, whose closing is counted."""
        engine = self._made(*arguments)
        close, self.closed = engine.close, 0

        def counted() -> None:
            self.closed += 1
            close()

        engine.close = counted
        self.engines.append(engine)
        return engine


def run(folder, plan, heard, **options):
    (folder / "cells").mkdir(parents=True, exist_ok=True)
    (folder / "cells" / PLAN_FILE).write_text(json.dumps(plan.to_json({})))
    how = {"run": RUNNER, "device": torch.device("cpu"), "workers": 2, "quiet": True} | options
    return run_cells(folder, plan.cells.values(), engine=heard.start, watchers=[heard], **how)


def total(folder, plan, place):
    return int(Store(folder / "cells").load(plan.name("part", place)).array("total"))


@EVERY
def test_cells_run_after_what_they_need_and_are_stored(tmp_path, engine):
    plan, heard = plan_of(SQUARE), Heard(engine)
    outcome = run(tmp_path, plan, heard)
    assert (outcome.failed, outcome.skipped) == ({}, [])
    done = heard.of("done")
    assert sorted(done) == sorted(plan.cells)
    for name, cell in plan.cells.items():
        assert all(done.index(need) < done.index(name) for need in cell.needs.values())
        assert name in heard.of("progress")
    assert [total(tmp_path, plan, place) for place in SQUARE] == [1, 2, 2, 5]
    # As they are computed in one process, whatever runs them.
    alone = plan_of(SQUARE)
    run(tmp_path / "alone", alone, heard, workers=0)
    assert contents(tmp_path / "cells") == contents(tmp_path / "alone" / "cells")
    assert heard.closed == len(heard.engines) == 1


@EVERY
def test_a_failure_is_reported_and_keeps_nobody_else(tmp_path, engine):
    mended = tmp_path / "mended"
    plan, heard = plan_of(SQUARE, "b", mended), Heard(engine)
    outcome = run(tmp_path, plan, heard)
    failed, skipped = plan.name("part", "b"), plan.name("part", "d")
    assert outcome.failed == {failed: "ValueError: told to fail"}
    assert outcome.skipped == [skipped]
    assert total(tmp_path, plan, "c") == 2
    message, traceback = Store(tmp_path / "cells").failure(failed)
    assert message == outcome.failed[failed]
    assert "Traceback" in traceback
    assert heard.closed == 1
    # The next run tries what failed and what was skipped, and nothing else.
    mended.touch()
    heard = Heard(engine)
    assert not run(tmp_path, plan, heard).failed
    assert set(heard.of("done")) == {failed, skipped}
    assert Store(tmp_path / "cells").failure(failed) is None
    assert total(tmp_path, plan, "d") == 5


@EVERY
def test_a_run_goes_on_where_it_stopped(tmp_path, engine):
    plan, stopped = plan_of(SQUARE), Heard(engine, stop="done")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, plan, stopped)
    assert stopped.closed == 1  # whatever ends a run ends what it started
    store = Store(tmp_path / "cells")
    there = {name for name in plan.cells if store.has(name)}
    assert there
    assert there < set(plan.cells)
    heard = Heard(engine)
    assert not run(tmp_path, plan, heard).failed
    assert set(heard.of("done")) == set(plan.cells) - there
    assert total(tmp_path, plan, "d") == 5
    again = Heard(engine)
    assert not run(tmp_path, plan, again).failed
    assert not again.of("done")
    assert not again.engines  # nothing to do: nothing is started


@EVERY
def test_it_takes_no_more_than_it_has_room_for(tmp_path, engine):
    many = {"root": (), **{f"leaf{i}": ("root",) for i in range(7)}}
    plan, heard, rooms = plan_of(many), Heard(engine), []
    made = heard.start

    def watched(*arguments):
        found = made(*arguments)
        begin = found.start

        def start(cell):
            rooms.append(found.free)
            begin(cell)

        found.start = start
        return found

    heard.start = watched
    assert not run(tmp_path, plan, heard).failed
    assert len(rooms) == len(many)
    assert 1 <= min(rooms) <= max(rooms) <= 2
