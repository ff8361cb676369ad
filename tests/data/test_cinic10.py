"""Image folders in official parts, in folders and in archives, friendly and not."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

import official_files
from infoplane.data import load, split
from infoplane.errors import UsageError

CONTENT = official_files.parted()
FILES = {name: official_files.png(pixels) for name, pixels in CONTENT.items()}


def archive(path: Path, prefix: str = "") -> Path:
    """Writes the images in another order than that of their names, with what else archives hold."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = tarfile.TarInfo("train")
    folder.type = tarfile.DIRTYPE
    members = {f"{prefix}{name}": FILES[name] for name in sorted(FILES, key=lambda name: name[::-1])}
    official_files.tar(path, {"train": folder, f"{prefix}README.md": b"read me", **members})
    return path


def check(dataset, name: str) -> None:
    expected = [
        CONTENT[f"{part}/{c}/{k}.png"]
        for part in ("train", "valid", "test")
        for c in ("cat", "dog", "emu")
        for k in (0, 1)
    ]
    assert np.array_equal(dataset.images, expected)
    assert dataset.labels.tolist() == [0, 0, 1, 1, 2, 2] * 3
    assert (dataset.name, dataset.classes, dataset.class_names) == (name, 3, ("cat", "dog", "emu"))
    assert {part: pool.tolist() for part, pool in dataset.pools.items()} == {
        "encoding": [*range(6)],
        "decoding": [*range(6, 12)],
        "evaluation": [*range(12, 18)],
    }


def test_a_folder(tmp_path):
    official_files.write_parted(tmp_path / "zoo", CONTENT)
    (tmp_path / "zoo" / "train" / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "zoo" / "train" / "cat" / ".hidden.png").write_text("no image")
    check(load(tmp_path / "zoo"), "zoo")


@pytest.mark.parametrize("suffix", [".tar.gz", ".tgz", ".tar"])
@pytest.mark.parametrize("prefix", ["", "./", "zoo-1.0/"])
def test_an_archive(tmp_path, suffix, prefix):
    path = archive(tmp_path / "zoo" / f"pictures{suffix}", prefix)
    before = sorted(tmp_path.rglob("*"))
    check(load(path), "pictures")
    check(load(tmp_path / "zoo"), "zoo")
    assert sorted(tmp_path.rglob("*")) == before  # nothing was unpacked


def test_a_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "zoo.zip", "w") as made:
        for name, content in FILES.items():
            made.writestr(name, content)
    check(load(tmp_path / "zoo.zip"), "zoo")


def test_without_valid_train_serves_twice(tmp_path):
    official_files.write_parted(tmp_path, {name: image for name, image in CONTENT.items() if "valid" not in name})
    dataset = load(tmp_path)
    assert dataset.pools is not None
    assert dataset.pools["encoding"].tolist() == dataset.pools["decoding"].tolist() == [*range(6)]
    parts = split(dataset, encoding=2, decoding=None, evaluation=3, seed=0)
    assert sorted([*parts.encoding, *parts.decoding]) == [*range(6)]
    assert set(parts.evaluation) < set(range(6, 12))


def test_grey_stays_one_channel_unless_there_is_colour(tmp_path):
    grey = {name: pixels[0] for name, pixels in CONTENT.items()}
    official_files.write_parted(tmp_path / "grey", grey)
    assert load(tmp_path / "grey").shape == (1, 8, 8)
    first = "train/cat/0.png"
    official_files.write_parted(tmp_path / "both", {**grey, first: CONTENT[first]})
    both = load(tmp_path / "both").images
    assert np.array_equal(both[0], CONTENT[first])
    assert np.array_equal(both[1], np.stack([grey["train/cat/1.png"]] * 3))


@pytest.mark.parametrize(
    ("names", "pools"),
    [
        (("Train", "Test"), (0, 0, 1)),
        (("training", "val"), (0, 0, 1)),
        (("train", "dev", "testing"), (0, 1, 2)),
        (("val", "test"), (0, 0, 1)),
        (("TRAIN", "VAL", "TEST"), (0, 1, 2)),
        (("train", "valid", "test"), (0, 1, 2)),
    ],
)
@pytest.mark.parametrize("classes", [True, False])
def test_parts_by_any_usual_name_are_no_classes(tmp_path, capsys, names, pools, classes):
    image = CONTENT["train/cat/0.png"]
    written = {f"{part}/{label}{i}.png": image for part in names for label in ("a/", "b/") for i in (0, 1)}
    if not classes:
        written = {name.replace("/a/", "/a").replace("/b/", "/b"): pixels for name, pixels in written.items()}
    official_files.write_parted(tmp_path, written)
    dataset = load(tmp_path)
    assert dataset.class_names == (("a", "b") if classes else None)
    assert (None if dataset.labels is None else dataset.labels.tolist()) == (
        [0, 0, 1, 1] * len(names) if classes else None
    )
    assert dataset.pools is not None
    found = [dataset.pools[part].tolist() for part in ("encoding", "decoding", "evaluation")]
    assert found == [[*range(4 * at, 4 * at + 4)] for at in pools]
    said = capsys.readouterr().err
    assert "read as official parts, not as classes: " in said
    assert ("their images have no labels" in said) == (not classes)


def test_one_folder_called_like_a_part_is_a_class(tmp_path):
    for name in ("train/1.png", "bus/2.png", "car/1.png"):
        official_files.write_parted(tmp_path, {name: CONTENT["train/cat/0.png"]})
    dataset = load(tmp_path)
    assert (dataset.class_names, dataset.pools) == (("bus", "car", "train"), None)


def test_parts_beside_classes_are_asked_about(tmp_path, refuses):
    for name in ("train/1.png", "test/2.png", "bus/1.png"):
        official_files.write_parted(tmp_path, {name: CONTENT["train/cat/0.png"]})
    with refuses("classes or parts?", "called like parts are test and train", "rename"):
        load(tmp_path)


def test_a_part_without_labels_beside_one_with_them(tmp_path, refuses):
    for name in ("train/cat/1.png", "train/dog/1.png", "test/1.png"):
        official_files.write_parted(tmp_path, {name: CONTENT["train/cat/0.png"]})
    with refuses("no class folders in test", "without labels"):
        load(tmp_path)


def test_what_is_ignored_in_parts_is_counted(tmp_path, capsys):
    official_files.write_parted(tmp_path, CONTENT)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "train" / "cat" / ".DS_Store").write_text("no image")
    (tmp_path / "test" / "cat" / "deeper").mkdir()
    (tmp_path / "docs").mkdir()
    dataset = load(tmp_path)
    parted, note = dataset.notes
    assert parted == "read as official parts, not as classes: train, valid, test"
    assert note.startswith("4 files or folders were ignored: ")
    for kind in ("1 × .txt", "1 × hidden", "1 × folder inside class folders", "1 × folder beside the parts"):
        assert kind in note
    assert note in capsys.readouterr().err


def test_images_that_are_dropped_beside_parts_are_counted(tmp_path):
    official_files.write_parted(tmp_path, CONTENT)
    extra = {f"unlabeled/x/{at}.png": CONTENT["train/cat/0.png"] for at in range(7)}
    extra |= {f"test/cat/more/{at}.png": CONTENT["train/cat/0.png"] for at in range(3)}
    official_files.write_parted(tmp_path, extra)
    _, note = load(tmp_path).notes
    assert "7 × image in folders beside the parts" in note
    assert "3 × image in folders inside class folders" in note


@pytest.mark.parametrize("names", [("Train", "train", "test"), ("train", "val", "dev", "test")])
def test_two_folders_for_one_part_are_refused(tmp_path, refuses, names):
    for name in names:
        official_files.write_parted(tmp_path / "folder", {f"{name}/cat/0.png": CONTENT["train/cat/0.png"]})
    with refuses("both of which are called like", "merge them"):
        load(tmp_path / "folder")
    official_files.tar(tmp_path / "a.tar", {f"zoo/{name}/cat/0.png": FILES["train/cat/0.png"] for name in names})
    with refuses("both of which are called like", "merge them"):
        load(tmp_path / "a.tar")


def test_two_sets_in_one_archive_are_not_one(tmp_path, refuses):
    files = {f"{root}/{name}": content for root in ("first", "second") for name, content in FILES.items()}
    official_files.tar(tmp_path / "a.tar", files)
    with refuses("first/train and second/train"):
        load(tmp_path / "a.tar")


def test_what_macos_adds_to_archives_is_hidden(tmp_path):
    with zipfile.ZipFile(tmp_path / "zoo.zip", "w") as made:
        for name, content in FILES.items():
            made.writestr(name, content)
            made.writestr(f"__MACOSX/{name.rpartition('/')[0]}/._{name.rpartition('/')[2]}", b"resource fork")
        for name in ("__MACOSX/train/cat/7.png", ".cache/train/cat/8.png", ".DS_Store", "train/cat/deeper/9.png"):
            made.writestr(name, FILES["train/cat/0.png"])
    dataset = load(tmp_path / "zoo.zip")
    check(dataset, "zoo")
    assert dataset.notes[1:] == (
        "22 files or folders were ignored: 1 × image elsewhere than in PART/CLASS, 21 × hidden",
    )


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_a_name_twice_in_an_archive_is_refused(tmp_path, refuses, suffix):
    path = tmp_path / f"pictures{suffix}"
    name, again = "train/cat/0.png", FILES["train/cat/1.png"]
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w") as made:
            for each, content in FILES.items():
                made.writestr(each, content)
            with pytest.warns(UserWarning, match="Duplicate"):
                made.writestr(name, again)
    else:
        with tarfile.open(path, "w") as made:
            for each, content in [*FILES.items(), (f"./{name}", again)]:
                member = tarfile.TarInfo(each)
                member.size = len(content)
                made.addfile(member, io.BytesIO(content))
    with refuses("two files called 'train/cat/0.png' in it", "each name once"):
        load(path)


def special(name: str, kind: bytes, target: str = "") -> dict[str, tarfile.TarInfo]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return {name: member}


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"../evil.png": FILES["test/cat/0.png"]}, ("'../evil.png'", "inside the archive")),
        ({"train/cat/../../../evil.png": b"x"}, ("evil.png", "inside the archive")),
        ({"/tmp/evil.png": b"x"}, ("'/tmp/evil.png'", "inside the archive")),
        ({"C:\\evil.png": b"x"}, ("evil.png", "inside the archive")),
        ({"..\\evil.png": b"x"}, ("evil.png", "inside the archive")),
        (special("train/cat/9.png", tarfile.SYMTYPE, "/etc/passwd"), ("a link", "train/cat/9.png")),
        (special("train/cat/9.png", tarfile.LNKTYPE, "train/cat/0.png"), ("a link", "train/cat/9.png")),
        (special("train/cat/9.png", tarfile.FIFOTYPE), ("a device or pipe",)),
        (special("readme", tarfile.CHRTYPE), ("a device or pipe",)),
        ({"train/cat/9.png": b"no image"}, ("train/cat/9.png", "cannot read the image")),
        ({"train/cat/9.png": official_files.png(CONTENT["train/cat/0.png"][:, :4])}, ("8×4", "8×8")),
        ({"train/fox/9.png": FILES["train/cat/0.png"]}, ("no images in test/fox, valid/fox",)),
        ({"train/cat/9.png": bytes((16 << 20) + 1)}, ("16,777,217 bytes", "at most 16,777,216")),
        ({"readme": bytes(65 << 20)}, ("at most",)),
    ],
)  # fmt: skip
def test_archives_that_are_refused(tmp_path, refuses, extra, says):
    path = tmp_path / "in" / "bad.tar.gz"
    path.parent.mkdir()
    official_files.tar(path, {**FILES, **extra})
    before = sorted(tmp_path.rglob("*"))
    with refuses(str(path), *says):
        load(path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_bomb_of_many_files(tmp_path, refuses):
    """Each member is small enough; together they unpack to far more than an archive of pictures does."""
    path = tmp_path / "bomb.tar.gz"
    official_files.tar(path, {**FILES, **{f"fill/{k}": bytes(15 << 20) for k in range(6)}})
    with refuses(str(path), "that unpack to", "67,108,864"):
        load(path)


def test_zips_that_are_refused(tmp_path, refuses):
    path = tmp_path / "bad.zip"
    link = zipfile.ZipInfo("train/cat/9.png")
    link.external_attr = 0o120777 << 16
    for member, content, says in (
        ("../evil.png", b"x", "inside the archive"),
        (link, "/etc/passwd", "a link"),
        ("readme", bytes(65 << 20), "unpack to"),
        ("train/cat/9.png", bytes((16 << 20) + 1), "at most 16,777,216"),
    ):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
            for name, good in FILES.items():
                made.writestr(name, good)
            made.writestr(member, content)
        with refuses(str(path), says):
            load(path)


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar", ".zip"])
def test_damaged_archives(tmp_path, refuses, suffix):
    path = tmp_path / f"pictures{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w") as made:
            for name, content in FILES.items():
                made.writestr(name, content)
    else:
        archive(path)
    good = path.read_bytes()
    middle = len(good) // 2
    damaged = [good[:count] for count in (middle, len(good) - 600, len(good) - 3)]
    for start in range(middle, middle + 2000, 250):
        damaged.append(good[:start] + bytes(255 - b for b in good[start : start + 40]) + good[start + 40 :])
    told = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            check(load(path), "pictures")  # damage in a part of a tar that means nothing, e.g. its last zeros
        except UsageError as error:
            with refuses(str(path)):
                raise error
            told += 1
    assert told >= len(damaged) - (2 if suffix == ".tar" else 0)


def test_a_header_damaged_in_the_middle_is_not_the_end(tmp_path, refuses):
    path = archive(tmp_path / "pictures.tar")
    good = path.read_bytes()
    with tarfile.open(path) as made:
        offsets = [member.offset for member in made.getmembers()]
    for offset in (offsets[3], offsets[-1]):
        path.write_bytes(good[:offset] + bytes(100) + b"garbage" + good[offset + 107 :])
        with refuses(str(path), "does not end as archives do"):
            load(path)


def test_folders_that_are_refused(tmp_path, refuses):
    official_files.write_parted(tmp_path, CONTENT)
    (tmp_path / "valid" / "dog" / "1.png").unlink()
    (tmp_path / "valid" / "dog" / "0.png").unlink()
    with refuses("no images in valid/dog", str(tmp_path)):
        load(tmp_path)


def test_a_picture_too_large_to_be_one(tmp_path, refuses):
    """A PNG of a few bytes that claims 30,000 × 30,000 pixels is refused without a warning."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    path = tmp_path / "bomb.tar"
    official_files.tar(path, {"train/a/1.png": bomb, "test/a/1.png": bomb})
    with refuses("train/a/1.png", str(path)):
        load(path)


def test_an_archive_of_something_else(tmp_path, refuses):
    official_files.tar(tmp_path / "a.tar.gz", {"notes.txt": b"x"})
    with refuses("cannot tell how to read", "a.tar.gz"):
        load(tmp_path / "a.tar.gz")
    (tmp_path / "b.tar.gz").write_bytes(b"no archive")
    for path in (tmp_path / "b.tar.gz", tmp_path):
        with refuses("cannot use", "b.tar.gz", "intact archive"):
            load(path)
        (tmp_path / "a.tar.gz").unlink(missing_ok=True)
