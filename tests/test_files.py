"""Files are there whole or not at all, whoever writes them at the same time."""

import os
from pathlib import Path

import pytest

from infoplane.files import TEMPORARY, open_regular, read_text, write_whole

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


def test_a_text_is_what_python_reads(tmp_path):
    path = tmp_path / "a"
    for content in (b"", b"a\r\nb\rc\n", "\u00e4\u2028\U0001f600".encode(), b"\xef\xbb\xbfa"):
        path.write_bytes(content)
        assert read_text(path) == path.read_text(encoding="utf-8")
    path.write_bytes(b"a\xff")
    with pytest.raises(ValueError, match="utf-8"):
        read_text(path)
    assert read_text(path, errors="replace") == "a\ufffd"
    assert len(read_text(path, most=2, errors="replace")) == 2
    with pytest.raises(OSError, match="more than 1 bytes"):
        read_text(path, most=1)


def test_only_regular_files_are_read_and_nothing_is_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for path in (tmp_path / "pipe", tmp_path / "link", tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match="no regular file"):
            read_text(path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "gone")
