"""infoplane data: what it lists, what it checks, what it downloads."""

import gzip
import hashlib
import http.server
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import official_files
from infoplane.cli import data as verb
from infoplane.data import catalogue
from infoplane.data.catalogue import Remote


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """INFOPLANE_DATA, empty; the cache is beside it."""
    monkeypatch.setenv("INFOPLANE_DATA", str(tmp_path / "named"))
    monkeypatch.setattr(catalogue, "cache", lambda: tmp_path / "cache")
    (tmp_path / "named").mkdir()
    return tmp_path / "named"


def enter(monkeypatch, **changes) -> None:
    """Changes what the catalogue says of MNIST."""
    entry = replace(catalogue.BY_NAME["mnist"], **changes)
    entries = tuple(entry if other.name == "mnist" else other for other in catalogue.ENTRIES)
    monkeypatch.setattr(catalogue, "ENTRIES", entries)
    monkeypatch.setitem(catalogue.BY_NAME, "mnist", entry)


def line(text: str, start: str) -> str:
    (found,) = [line for line in text.splitlines() if line.split() and line.split()[0] == start]
    return found


def test_the_table(home, call, root, monkeypatch):
    enter(monkeypatch, remotes=())
    official_files.write_svhn(root / "svhn")
    official_files.write_parted(root / "zoo", official_files.parted())
    said = call("data")
    assert (said.code, said.err) == (0, "")
    assert line(said.out, "svhn").split() == [
        *("svhn", "3×32×32", "256", "10", "73,257", "+", "26,032", str(root / "svhn")),
    ]
    assert line(said.out, "mnist").endswith("missing; no address known")
    assert line(said.out, "szt").endswith("missing; infoplane data --download szt")
    assert f"also there: {root / 'zoo'}" in said.out
    assert "data.name: zoo" in said.out
    assert "images published" in said.out.splitlines()[0]
    assert "no such folder" not in said.out
    assert "always there: digits, truth" in said.out
    assert f"looked in: INFOPLANE_DATA={root}, then {root.parent / 'cache'}" in said.out


def test_a_subset_is_not_shown_as_the_whole(home, call, root, monkeypatch):
    official_files.write_idx(root / "mnist")
    official_files.write_cifar(root / "cifar10_exact_subset", python=False)
    said = call("data")
    assert said.code == 0
    assert line(said.out, "mnist").endswith(f"{root / 'mnist'} (not the whole: 30 + 10 images)")
    assert line(said.out, "cifar10").endswith("subset (not the whole: 20 + 4 images)")
    enter(monkeypatch, counts={"train": 30, "test": 10})
    assert line(call("data").out, "mnist").endswith(str(root / "mnist"))


def test_damaged_files_are_counted_as_unknown(home, call, root):
    official_files.write_idx(root / "mnist")
    (root / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8bno")
    official_files.write_cifar(root / "cifar10", python=True)
    said = call("data")
    assert said.code == 0
    assert line(said.out, "mnist").endswith(str(root / "mnist"))
    assert line(said.out, "cifar10").endswith(str(root / "cifar10"))


def test_a_folder_that_is_not_there_is_called_so(home, call, root, monkeypatch):
    monkeypatch.setenv("INFOPLANE_DATA", "/nowhere")
    assert "looked in: INFOPLANE_DATA=/nowhere (no such folder), then" in call("data").out


def test_the_table_where_nothing_is(home, call, root, monkeypatch):
    monkeypatch.delenv("INFOPLANE_DATA")
    said = call("data")
    assert said.code == 0
    assert said.out.count("missing; infoplane data --download") == len(catalogue.ENTRIES)
    assert "(INFOPLANE_DATA is not set)" in said.out


def test_checking_one(home, call, root, monkeypatch):
    content = official_files.write_idx(root / "mnist")
    digests = {
        name: f"sha256:{hashlib.sha256(official_files.idx(array)).hexdigest()}" for name, array in content.items()
    }
    enter(monkeypatch, contents=digests)
    said = call("data", "mnist")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("mnist (30 + 10 images): 40 images 1×4×6, 256 levels, 10 classes\n")
    assert str(root / "mnist") in line(said.out, "files")
    mean = content["train-images-idx3-ubyte"].mean()
    assert (
        line(said.out, "train").split(maxsplit=1)[1]
        == f"30 of 60,000 images, mean {mean:.3f}, by class {'3 ' * 10}".strip()
    )
    assert "10 of 10,000 images" in line(said.out, "test")
    assert "as published: t10k-images-idx3-ubyte.gz," in line(said.out, "content")
    assert line(said.out, "licence").endswith("CC BY-SA 3.0")
    by_path = call("data", str(root / "mnist"))
    assert by_path.out == said.out


def test_content_that_is_not_as_published(home, call, root):
    official_files.write_idx(root / "mnist")
    said = call("data", "mnist")
    assert said.code == 1
    assert "NOT as published: t10k-images" in line(said.out, "content")


def test_checking_what_has_no_files_or_no_entry(home, call, root):
    said = call("data", "digits")
    assert said.code == 0
    assert "digits: 1,797 images 1×8×8, 17 levels, 10 classes" in said.out
    assert "by class 178 182" in line(said.out, "all")
    official_files.write_parted(root / "zoo", official_files.parted())
    said = call("data", "zoo")
    assert said.code == 0
    assert line(said.out, "decoding").endswith("by class 2 2 2")
    assert call("data", str(home / "tiny.npz")).code == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["mnist"], ("no files of data set 'mnist'", "--download mnist")),
        (["mnits"], ("unknown data set", "'mnits'", "did you mean 'mnist'")),
        (["--download", "mnits"], ("unknown data set to download", "did you mean 'mnist'")),
        (["--download", "digits"], ("unknown data set to download",)),
        (["mnist", "--download", "mnist"], ("either a name to check or --download",)),
        (["--download"], ("--download",)),
        (["mnist", "szt"], ("szt",)),
    ],
)
def test_words_that_make_no_command(home, call, root, words, says):
    said = call("data", *words)
    assert (said.code, said.out) == (2, "")
    (message,) = said.err.splitlines()
    for part in says:
        assert part in message


@pytest.fixture
def address(tmp_path):
    """The address of a server of the folder `site`."""
    (tmp_path / "site").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "site")) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_downloading_one(home, call, root, address, tmp_path, monkeypatch):
    content = official_files.write_idx(tmp_path / "site")
    files = [f"{name}.gz" for name in content]
    remotes = []
    for name, array in content.items():
        raw = (tmp_path / "site" / f"{name}.gz").read_bytes()
        assert gzip.decompress(raw) == official_files.idx(array)
        remotes.append(Remote(f"{address}/{name}.gz", f"md5:{hashlib.md5(raw).hexdigest()}"))
    enter(monkeypatch, remotes=tuple(remotes))
    said = call("data", "--download", "mnist")
    assert (said.code, said.err) == (0, "")
    cache = tmp_path / "cache" / "mnist"
    assert said.out == f"mnist: {', '.join(files)} in {cache}\n"
    assert sorted(path.name for path in cache.iterdir()) == sorted(files)
    assert "30 of 60,000 images" in call("data", "mnist").out
    # A second call finds them all; one that INFOPLANE_DATA has goes before.
    assert call("data", "--download", "mnist").out == said.out
    official_files.write_idx(root / "mnist")
    assert f"already in {root / 'mnist'}" in call("data", "--download", "mnist").out


def test_a_download_that_fails(home, call, root, address, tmp_path, monkeypatch):
    (tmp_path / "site" / "a.gz").write_bytes(b"something else")
    for remote, says in (
        (Remote(f"{address}/a.gz", f"md5:{'0' * 32}"), "checksum of a.gz is wrong"),
        (Remote(f"{address}/b.gz", f"md5:{'0' * 32}"), "HTTP 404"),
    ):
        enter(monkeypatch, remotes=(remote,))
        said = call("data", "--download", "mnist")
        assert (said.code, said.out) == (2, "")
        (message,) = said.err.splitlines()
        assert says in message
        assert not list((tmp_path / "cache" / "mnist").iterdir())


def test_what_takes_long_shows_a_bar(home, call, root, address, tmp_path, monkeypatch):
    (tmp_path / "site" / "a.gz").write_bytes(bytes(200_000))
    enter(monkeypatch, remotes=(Remote(f"{address}/a.gz"),))
    assert call("data", "--download", "mnist").err == ""  # not this one
    (tmp_path / "cache" / "mnist" / "a.gz").unlink()
    monkeypatch.setattr(verb, "PATIENCE", 0)
    said = call("data", "--download", "mnist")
    assert "a.gz" in said.err
    assert "200.0/200.0 kB" in said.err
    assert said.out.endswith("; no checksum is published\n")


def test_what_was_not_taken_as_it_is_is_said(home, call):
    rng = np.random.default_rng(0)
    for index in range(6):
        (home / "zoo" / "ab"[index % 2]).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (4, 5, 4), dtype=np.uint8)
        Image.fromarray(pixels).save(home / "zoo" / "ab"[index % 2] / f"scene{index // 3}_{index}.png")
    (home / "zoo" / "a" / "notes.txt").write_text("no image")
    (home / "zoo" / "b" / "copy.png").write_bytes((home / "zoo" / "a" / "scene0_0.png").read_bytes())
    said = call("data", "zoo")
    assert said.code == 2
    assert "can be seen through" in said.err
    said = call("data", "zoo", "--options", "alpha=black", "subset=7")
    assert said.code == 0
    for sentence in (
        "1 file or folder was ignored: 1 × .txt",
        "7 of 7 images can be seen through: they were laid on black",
        "1 of 7 images is a copy of another: 6 are distinct",
        "1 of the copies has another label",
    ):
        assert f"note: {sentence}" in said.err
        assert sentence in said.out
    (home / "zoo" / "b" / "copy.png").unlink()
    said = call("data", "zoo", "--options", "alpha=drop", "--groups", r"(scene\d)_")
    assert "6 images belong to 2 groups" in said.out
    for words in (("alpha",), ("alpha=drop", "alpha=drop"), ("=drop",)):
        said = call("data", "zoo", "--options", *words)
        assert "cannot read --options" in said.err
    assert "unknown option of image folder" in call("data", "zoo", "--options", "alhpa=drop").err
