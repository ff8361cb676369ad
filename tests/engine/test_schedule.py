"""The schedule against a search through all cells after each event, over random graphs and random failures."""

import random

import pytest

from infoplane.engine.cell import Cell
from infoplane.engine.schedule import Schedule


def cells(count: int, generator: random.Random) -> list[Cell]:
    """Cells that need a few of those before them."""
    found: list[Cell] = []
    for at in range(count):
        needs = generator.sample(found, min(len(found), generator.choice((0, 1, 1, 2, 3))))
        kind = generator.choice(("here", "there"))
        found.append(Cell(kind, {}, {str(role): need.name for role, need in enumerate(needs)}, f"{kind}-{at:012x}"))
    return found


class Search:
    """What a schedule says, found by looking at every cell each time."""

    def __init__(self, given: list[Cell], stored: set[str], lost: set[str]) -> None:
        self.waiting = [cell for cell in given if cell.name not in stored | lost]
        self.stored, self.lost = stored, lost
        self.skipped: list[str] = []
        self.skip()

    def skip(self) -> list[str]:
        new = []
        for cell in [*self.waiting]:  # each comes after those it needs
            if any(need in self.lost for need in cell.needs.values()):
                self.waiting.remove(cell)
                self.lost.add(cell.name)
                new.append(cell.name)
        self.skipped += new
        return new

    def take(self, *, here: bool) -> Cell | None:
        for cell in self.waiting:
            if (cell.kind == "here") == here and all(need in self.stored for need in cell.needs.values()):
                self.waiting.remove(cell)
                return cell
        return None


@pytest.mark.parametrize("seed", range(60))
def test_it_says_what_a_search_through_all_cells_says(seed: int) -> None:
    generator = random.Random(seed)
    given = cells(generator.randint(1, 40), generator)
    names = [cell.name for cell in given]
    stored: set[str] = set()
    for cell in given:  # what an earlier run left: some cells whose needs are there
        if all(need in stored for need in cell.needs.values()) and generator.random() < 0.3:
            stored.add(cell.name)
    search, running, failed = Search(given, stored, set()), [], set()
    schedule = Schedule(given, stored.__contains__, lambda cell: cell.kind == "here")
    while search.waiting or running:
        assert [cell.name for cell in schedule.waiting] == [cell.name for cell in search.waiting]
        assert bool(schedule) == bool(search.waiting)
        here = generator.random() < 0.5
        begun, expected = schedule.take(here=here), search.take(here=here)
        assert begun is expected
        if begun is not None:
            running.append(begun.name)
        if running and generator.random() < 0.6:
            name = running.pop(generator.randrange(len(running)))
            if generator.random() < 0.15:
                failed.add(name)
                search.lost.add(name)
                assert schedule.lose(name) == search.skip()
            else:
                stored.add(name)
                schedule.done(name)
        if generator.random() < 0.1:  # other cells than before, while some run
            rest = [
                cell for cell in given if cell.name in stored | search.lost | {*running} or generator.random() < 0.9
            ]
            kept = {cell.name for cell in rest}
            rest = [cell for cell in rest if all(need in kept for need in cell.needs.values())]
            lost = {*failed, *search.skipped}
            schedule = Schedule(rest, stored.__contains__, lambda cell: cell.kind == "here", running=running, lost=lost)
            search = Search([cell for cell in rest if cell.name not in running], stored, {*lost})
            search.skipped = [name for name in names if name in lost - failed]
    assert not schedule


def test_what_nothing_makes_keeps_a_cell_waiting() -> None:
    cell = Cell("there", {}, {"data": "data-000000000000"}, "there-000000000001")
    schedule = Schedule([cell], lambda name: False, lambda cell: False)
    assert schedule.take(here=False) is None
    assert schedule.waiting == [cell]
