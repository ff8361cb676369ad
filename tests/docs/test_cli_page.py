"""The page of the command line names every verb and every option, and no others."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from infoplane.cli.app import app

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
#: heading -> what stands under it
SECTIONS = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
COMMANDS = get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]


def test_every_verb_has_its_section():
    assert set(SECTIONS) - {"Environment"} == set(COMMANDS)


@pytest.mark.parametrize("verb", sorted(COMMANDS))
def test_the_options_are_those_of_the_command(verb):
    documented = {
        name for row in re.findall(r"^\| (`-.*?) \|", SECTIONS[verb], re.M) for name in re.findall(r"`(-\S+)`", row)
    }
    options = {
        name for each in COMMANDS[verb].params for name in (*each.opts, *each.secondary_opts) if name.startswith("-")
    }
    assert documented == options - {"--help"}


@pytest.mark.parametrize("verb", sorted(COMMANDS))
def test_what_is_needed_is_said_to_be_needed(verb):
    for each in COMMANDS[verb].params:
        if each.opts[0].startswith("--"):
            row = re.search(rf"^\| `{each.opts[0]}`.*$", SECTIONS[verb], re.M)
            assert row is None or ("; needed" in row[0]) == each.required, each.opts[0]
