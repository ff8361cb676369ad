"""An outline says what loading would, but for the pixels, and no picture is decoded for it."""

import zipfile

import numpy as np
import pytest

import official_files
from infoplane.data import cinic10, folder, load, pictures, split
from infoplane.data import outline as outlined
from infoplane.data.outlining import Outline

COLOUR = official_files.images(1, 3, 6, 4)[0]


@pytest.fixture
def looked(monkeypatch):
    """Which pictures' headers are read; decoding one fails the test."""
    found = []
    look = pictures.look

    def noted(source, name, alpha=None):
        found.append(str(name))
        return look(source, name, alpha)

    monkeypatch.setattr("infoplane.data.outlining.look", noted)
    for module in (cinic10, folder):
        monkeypatch.setattr(module, "decode", lambda *_: pytest.fail("a picture was decoded"))
    return found


def same(path, monkeypatch, **options):
    """Checks the outline of a data set against the whole of it; returns the outline."""
    with monkeypatch.context() as patch:
        for module in (cinic10, folder):
            patch.setattr(module, "decode", pictures.decode)
        whole = load(path, quiet=True, **options)
    found = outlined(path, **options)
    assert isinstance(found, Outline)
    assert found.shape == whole.shape
    blank = found.dataset
    for name in ("name", "classes", "levels", "class_names"):
        assert getattr(blank, name) == getattr(whole, name)
    assert len(blank) == len(whole)
    for one, two in ((blank.labels, whole.labels), (blank.groups, whole.groups)):
        assert (one is None and two is None) or np.array_equal(one, two)
    assert [(parts, pool.tolist()) for parts, pool in blank.sources()] == [
        (parts, pool.tolist()) for parts, pool in whole.sources()
    ]
    sizes = {"encoding": 2, "decoding": 4, "evaluation": 3}
    one, two = (split(each, **sizes, seed=3, groups=groups) for each, groups in ((blank, found.groups), (whole, None)))
    for part in sizes:
        assert np.array_equal(getattr(one, part), getattr(two, part))
    return found


@pytest.mark.parametrize("suffix", ["", ".tar.gz", ".tar", ".zip"])
@pytest.mark.parametrize(
    "options", [{}, {"subset": 15}, {"downsample": 2}, {"subset": 15, "downsample": 2, "groups": "/(.*)"}]
)
def test_official_parts(tmp_path, monkeypatch, looked, suffix, options):
    content = official_files.parted()
    content = {name: official_files.images(1, 3, 6, 4, seed=i)[0] for i, name in enumerate(content)}
    path = tmp_path / "zoo"
    if not suffix:
        official_files.write_parted(path, content)
    else:
        path.mkdir()
        members = {name: official_files.png(pixels) for name, pixels in content.items()}
        if suffix == ".zip":
            with zipfile.ZipFile(path / "pictures.zip", "w") as archive:
                for name, picture in members.items():
                    archive.writestr(name, picture)
        else:
            official_files.tar(path / f"pictures{suffix}", members)
    assert same(path, monkeypatch, **options).shape == ((3, 6, 4) if "downsample" not in options else (3, 3, 2))
    assert len(looked) == 1


@pytest.mark.parametrize("classes", [True, False])
@pytest.mark.parametrize(("colours", "channels", "headers"), [((0, 12), 3, 1), ((7, 12), 3, 8), ((12, 12), 1, 12)])
def test_a_folder_of_images(tmp_path, monkeypatch, looked, classes, colours, channels, headers):
    for i in range(12):
        pixels = official_files.images(1, 3, 6, 4, seed=i)[0]
        pixels = pixels if i in range(*colours) else pixels[0]
        path = tmp_path / "zoo" / (f"class{i // 6}" if classes else ".") / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(official_files.png(pixels))
    assert same(tmp_path / "zoo", monkeypatch).shape == (channels, 6, 4)
    # Up to the first that is coloured: what follows changes nothing.
    assert len(looked) == headers


def test_what_names_tell_is_refused_alike(tmp_path, refuses, looked):
    (tmp_path / "zoo").mkdir()
    with refuses("no images in the folder"):
        outlined(tmp_path / "zoo")
    (tmp_path / "zoo" / "a.png").write_bytes(official_files.png(COLOUR))
    (tmp_path / "zoo" / "b.png").write_bytes(b"not looked at")
    with refuses("unknown option", "'alhpa'", "did you mean 'alpha'"):
        outlined(tmp_path / "zoo", alhpa="white")
    with refuses("unknown way to read transparent pixels"):
        outlined(tmp_path / "zoo", alpha="green")
    with refuses("cannot be downsampled 5×", "6×4 pixels"):
        outlined(tmp_path / "zoo", downsample=5)
    with refuses("no such file or folder"):
        outlined(tmp_path / "nowhere/")
    assert len(outlined(tmp_path / "zoo").dataset) == 2
