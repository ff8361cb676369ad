"""What other distributions offer is found by name, harms nothing where it is broken, and replaces nothing."""

import sys
from pathlib import Path

import pytest

from infoplane.registry import Registry
from plugin_site import write_metadata

GROUP = "infoplane.measurements"


def registry(**options) -> Registry[type]:
    fits = lambda found: isinstance(found, type) and issubclass(found, int)  # noqa: E731
    return Registry("kind of number", GROUP, {"whole": int}, fits=fits, legal="a subclass of int", **options)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path, with a module of numbers."""
    (tmp_path / "numbers_of_theirs.py").write_text("class Even(int): pass\nclass Word(str): pass\n")
    (tmp_path / "broken_of_theirs.py").write_text("import a_module_that_is_nowhere\n")
    (tmp_path / "leaves_of_theirs.py").write_text("raise SystemExit(3)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("numbers_of_theirs", "broken_of_theirs", "leaves_of_theirs"):
        sys.modules.pop(name, None)


def offer(site: Path, name: str = "theirs", version: str = "2.1", **names: str) -> None:
    write_metadata(site, name, version, {GROUP: names})


def test_own_things_need_no_other(site, refuses):
    known = registry()
    assert [*known] == ["whole"]
    assert "whole" in known
    assert "half" not in known
    assert 3 not in known
    assert (known["whole"], [*known.items()]) == (int, [("whole", int)])
    assert known.roots("whole") == ["builtins:int"]
    with refuses("unknown kind of number", "'wohle'", "did you mean 'whole'"):
        known["wohle"]
    with refuses("unknown number.kind", "'x'", "whole, auto", "see the manual"):
        known.get("x", what="number.kind", also=("auto",), mend="see the manual")
    with refuses("unknown kind of number", "3"):
        known.get(3)


def test_what_is_offered_is_listed_and_imported_when_it_is_asked_for(site):
    offer(site, even="numbers_of_theirs:Even")
    known = registry()
    assert [*known] == ["whole", "even"]
    assert "even" in known
    assert "numbers_of_theirs" not in sys.modules
    assert issubclass(known["even"], int)
    assert known.roots("even") == ["numbers_of_theirs:Even", "theirs 2.1"]


def test_nothing_is_read_before_the_first_look_up(site):
    known = registry()
    offer(site, even="numbers_of_theirs:Even")
    assert "even" in known


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("broken_of_theirs:Odd", ("ModuleNotFoundError", "a_module_that_is_nowhere")),
        ("leaves_of_theirs:Odd", ("SystemExit: 3",)),
        ("numbers_of_theirs:Odd", ("AttributeError", "Odd")),
        ("numbers_of_theirs:Word", ("Word", "legal: a subclass of int")),
    ],
)
def test_a_broken_one_is_told_when_it_is_asked_for_and_harms_nothing_else(site, value, words, refuses):
    offer(site, odd=value, even="numbers_of_theirs:Even")
    known = registry()
    assert [name for name, _ in known.items()] == ["whole", "even"]
    for _ in range(2):
        with refuses("kind of number 'odd' of theirs 2.1 cannot be had", *words, "mend or uninstall theirs 2.1"):
            known["odd"]
    assert known["whole"] is int
    assert [*known] == ["whole", "even", "odd"]


def test_nobody_replaces_what_is_there(site, refuses):
    offer(site, whole="numbers_of_theirs:Even", even="numbers_of_theirs:Even", rare="numbers_of_theirs:Even")
    offer(site, "others", "1.0", even="numbers_of_theirs:Even")
    known = registry(taken=("rare",))
    for name, owners in {
        "whole": "infoplane itself and theirs 2.1",
        "rare": "infoplane itself and theirs 2.1",
        "even": "others 1.0 and theirs 2.1",
    }.items():
        with refuses(f"kind of number {name!r} is offered twice", owners, "uninstall theirs 2.1"):
            known[name]
    assert sorted(known) == ["even", "rare", "whole"]
