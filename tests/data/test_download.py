"""The downloader against a server on this machine: right, wrong, cut, resumed, refused, gone."""

import dataclasses
import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from infoplane.data.catalogue import BY_NAME, ENTRIES, Remote
from infoplane.data.download import download, fetch
from infoplane.data.verify import verify

CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT under any name but /gone; what else it does its server says."""

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        server.asked.append(self.headers.get("Range"))
        if self.path == "/gone":
            return self.send_error(404)
        wanted, start = self.headers.get("Range"), 0
        if wanted and server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(CONTENT):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
                self.end_headers()
                return None
            start += server.shift
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        else:
            self.send_response(200)
        if server.length:
            self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        stop = server.cuts.pop(0) if server.cuts else len(CONTENT)
        self.wfile.write(CONTENT[start : max(start, stop)])
        return None

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    """What its requests asked for, and how it answers.

    Attributes:
        asked: The Range of each request.
        cuts: Of the coming requests, the byte at which the connection is cut.
        ranges: Whether it knows of ranges.
        shift: By how much it misses the range asked for.
        length: Whether it says how much there is.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []
        self.cuts: list[int] = []
        self.ranges, self.shift, self.length = True, 0, True

    def remote(self, name: str = "file.bin", checksum: str | None = MD5) -> Remote:
        return Remote(f"http://127.0.0.1:{self.server_address[1]}/{name}", checksum)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("checksum", [MD5, f"sha256:{hashlib.sha256(CONTENT).hexdigest()}", None])
def test_the_right_file(tmp_path, server, checksum):
    told = []
    file = fetch(server.remote(checksum=checksum), tmp_path / "new" / "folder", lambda *args: told.append(args))
    assert file == tmp_path / "new" / "folder" / "file.bin"
    assert file.read_bytes() == CONTENT
    assert names(file.parent) == ["file.bin"]
    assert told[-1] == ("file.bin", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    fetch(server.remote(checksum=checksum), file.parent)
    assert server.asked == [None]  # what is there with the right checksum is not asked for again


def test_a_damaged_file_is_replaced(tmp_path, server):
    (tmp_path / "file.bin").write_bytes(CONTENT[:-1] + b"x")
    assert fetch(server.remote(), tmp_path).read_bytes() == CONTENT


def test_a_wrong_checksum_removes_the_file(tmp_path, server, refuses):
    wrong = f"md5:{'0' * 32}"
    with refuses("checksum of file.bin is wrong", wrong, MD5.removeprefix("md5:"), "removed"):
        fetch(server.remote(checksum=wrong), tmp_path)
    assert names(tmp_path) == []


def test_a_cut_connection_is_taken_up(tmp_path, server, refuses):
    server.cuts = [100_000, 250_000]
    for count in (100_000, 250_000):
        with refuses("connection was cut", "file.bin", f"{count:,} of 300,000", "goes on from there"):
            fetch(server.remote(), tmp_path)
        assert names(tmp_path) == ["file.bin.part"]
        assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:count]
    told = []
    assert fetch(server.remote(), tmp_path, lambda *args: told.append(args)).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=250000-"]
    assert names(tmp_path) == ["file.bin"]
    assert told[0][1] > 250_000  # the bar goes on as well
    assert told[-1] == ("file.bin", 300_000, 300_000)


def test_without_a_checksum_nothing_is_taken_up(tmp_path, server, refuses):
    (tmp_path / "file.bin.part").write_bytes(b"x" * 1000)  # of another version: nobody would notice
    server.cuts = [100_000]
    with refuses("connection was cut", "100,000 of 300,000", "it starts anew"):
        fetch(server.remote(checksum=None), tmp_path)
    assert fetch(server.remote(checksum=None), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, None]


def test_a_server_without_ranges_starts_again(tmp_path, server, refuses):
    server.ranges = False
    server.cuts = [100_000]
    with refuses("connection was cut"):
        fetch(server.remote(), tmp_path)
    assert fetch(server.remote(), tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-"]


def test_a_server_that_gives_another_range(tmp_path, server):
    server.shift = 7
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000])
    assert fetch(server.remote(), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-", None]


def test_a_part_that_is_whole_or_too_long(tmp_path, server):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)  # stopped just before it got its name
    assert fetch(server.remote(), tmp_path).read_bytes() == CONTENT
    (tmp_path / "other.bin.part").write_bytes(CONTENT + b"more")
    assert fetch(server.remote("other.bin"), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=300000-", "bytes=300004-", None]


def test_a_part_of_another_file_is_found_out(tmp_path, server, refuses):
    (tmp_path / "file.bin.part").write_bytes(b"x" * 1000)
    with refuses("checksum of file.bin is wrong", "removed"):
        fetch(server.remote(), tmp_path)
    assert fetch(server.remote(), tmp_path).read_bytes() == CONTENT  # nothing of it is left


def test_a_server_that_does_not_say_how_much(tmp_path, server, refuses):
    server.length = False
    server.cuts = [1000]
    with refuses("checksum of file.bin is wrong"):
        fetch(server.remote(), tmp_path)
    assert fetch(server.remote(), tmp_path).read_bytes() == CONTENT


def test_a_file_that_is_gone(tmp_path, server, refuses):
    with refuses("cannot download gone", server.remote("gone").url, "HTTP 404", str(tmp_path)):
        fetch(server.remote("gone"), tmp_path)
    assert names(tmp_path) == []


def test_no_server(tmp_path, refuses):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file.bin"
        with refuses("cannot download file.bin", url, "refused", "is there a connection?"):
            fetch(Remote(url, MD5), tmp_path)
    assert names(tmp_path) == []


def test_a_silent_server(tmp_path, refuses, monkeypatch):
    monkeypatch.setattr("infoplane.data.download.TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file.bin"
        with refuses("file.bin", "TimeoutError"):
            fetch(Remote(url, MD5), tmp_path)


def test_a_folder_that_cannot_be(tmp_path, server, refuses):
    (tmp_path / "file").write_text("in the way")
    with refuses("cannot write", str(tmp_path / "file")):
        fetch(server.remote(), tmp_path / "file" / "folder")


def test_all_files_of_a_data_set(tmp_path, server, refuses):
    remotes = (server.remote("a.gz"), server.remote("b.gz"))
    entry = dataclasses.replace(BY_NAME["mnist"], remotes=remotes)
    assert [file.name for file in download(entry, tmp_path)] == ["a.gz", "b.gz"]
    with refuses("no public address of data set 'mnist'", str(tmp_path)):
        download(dataclasses.replace(entry, remotes=()), tmp_path)


def test_verify_judges_the_content(tmp_path):
    import gzip

    entry = dataclasses.replace(BY_NAME["mnist"], contents={"a": MD5, "c.gz": MD5})
    (tmp_path / "a").write_bytes(CONTENT)
    (tmp_path / "a.gz").write_bytes(gzip.compress(CONTENT, 1))  # packed anew
    (tmp_path / "b.gz").write_bytes(CONTENT)
    (tmp_path / "c.gz").write_bytes(gzip.compress(CONTENT))
    files = [tmp_path / name for name in ("a", "a.gz", "b.gz", "c.gz")]
    assert list(verify(entry, files).values()) == [True, True, None, False]
    (tmp_path / "a").write_bytes(CONTENT[1:])
    assert list(verify(entry, [*files[:1], tmp_path]).values()) == [False]


def test_the_catalogue_is_in_order():
    for entry in ENTRIES:
        assert entry.folders[0] == entry.name
        assert entry.licence
        for remote in entry.remotes:
            assert remote.url.startswith(("https://", "http://"))
        for checksum in [*(remote.checksum for remote in entry.remotes), *entry.contents.values()]:
            if checksum is not None:
                kind, _, digest = checksum.partition(":")
                assert len(bytes.fromhex(digest)) == {"md5": 16, "sha256": 32}[kind]
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)
