"""A page is sent to others: it says nothing of where things lie on the machine that made it."""

import os
from pathlib import Path

import pytest

import tiny_study
from infoplane.report.build import build_page
from infoplane.report.provenance import Hider
from infoplane.study.execute import execute

HOME = str(Path.home())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('File "/home/me/My Docs/x.py", line 3', 'File "…/x.py", line 3'),
        ("data: {name: /data/sets/digits}", "data: {name: …/digits}"),
        ("name: /digits\n", "name: …/digits\n"),
        ("cannot read /srv/a b/run/cells/x.json; legal", "cannot read …/x.json; legal"),
        (f"{HOME}/mine/x.npz", "…/x.npz"),
        ("C:\\Users\\me\\x.py and D:/data/y.npz", "…/x.py and …/y.npz"),
        ("file:///home/u/x.html", "…/x.html"),
        ("'/a/b c/d'", "'…/d'"),
        ("at=/usr/lib/python3/x.py:12", "at=…/x.py:12"),
    ],
)
def test_only_names_stay_of_absolute_paths(text, shown):
    assert Hider(Path("/srv/a b/run"))(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "CE(x)/CE(x|h) and/or 1/K",
        "https://example.org/b/c",
        "3 / 4",
        "./runs/x",
        "~/x/y",
        "a/b/c",
        "…/x",
        "cells/data-1",
    ],
)
def test_what_is_no_absolute_path_stays(text):
    assert Hider(Path("/srv/run"))(text) == text


def test_a_page_names_no_folder_of_the_machine(tmp_path):
    folder = tmp_path / "a run of mine"
    spec = tiny_study.tiny(tmp_path)
    assert str(tmp_path) in spec.to_yaml()  # the data lie there
    broken = spec.model_copy(update={"fit": spec.fit.model_copy(update={"learning_rate": 1e30})})
    execute(broken, folder, device="cpu", workers=0, quiet=True)
    page = build_page(folder).read_text(encoding="utf-8")
    assert "What failed" in page
    for path in (tmp_path, folder, Path.home(), Path.cwd(), Path(os.__file__).parent):
        assert str(path) not in page
