"""Files are there whole or not at all, whoever writes them at the same time."""

import os

import pytest

from infoplane.files import TEMPORARY, write_whole

REPLACE = os.replace


def meanwhile(monkeypatch, action) -> None:
    """Lets something happen once, between the writing of a file and its renaming."""

    def replace(source, target):
        monkeypatch.setattr(os, "replace", REPLACE)
        action(source)
        REPLACE(source, target)

    monkeypatch.setattr(os, "replace", replace)


def test_two_writers_of_one_file(tmp_path, monkeypatch):
    meanwhile(monkeypatch, lambda _: write_whole(tmp_path / "a", "second"))
    write_whole(tmp_path / "a", "first")
    assert (tmp_path / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_draft_that_was_swept_away_is_written_again(tmp_path, monkeypatch):
    swept = []
    meanwhile(monkeypatch, lambda draft: (swept.append(draft.name), draft.unlink()))
    write_whole(tmp_path / "a", "text")
    assert (tmp_path / "a").read_text() == "text"
    assert swept[0].startswith(f"{TEMPORARY}a-")


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "a", b"text")
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "gone" / "a", b"text")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_others_may_read_it(tmp_path):
    write_whole(tmp_path / "a", b"text")
    (tmp_path / "b").write_bytes(b"text")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode
