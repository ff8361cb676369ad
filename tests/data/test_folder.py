"""Folders of images: what is on disk is what comes back."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infoplane.data import load, load_folder


@pytest.fixture
def pixels() -> np.ndarray:
    """RGB images `(6, 3, 4, 5)`, height 4 and width 5."""
    return np.random.default_rng(1).integers(0, 256, (6, 3, 4, 5), dtype=np.uint8)


def write(path: Path, image: np.ndarray, **options) -> None:
    """Writes `(C, H, W)` or `(H, W)`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = image if image.ndim == 2 else np.ascontiguousarray(image.transpose(1, 2, 0))
    Image.fromarray(rows).save(path, **options)


def test_classes_become_labels(tmp_path, pixels):
    names = ["cat/b.png", "cat/a.png", "dog/2.png", "dog/10.png", "ant/z.bmp", "ant/y.PNG"]
    for name, image in zip(names, pixels):
        write(tmp_path / "zoo" / name, image)
    dataset = load_folder(tmp_path / "zoo")
    order = [names.index(name) for name in sorted(names)]  # ant/y, ant/z, cat/a, cat/b, dog/10, dog/2
    assert np.array_equal(dataset.images, pixels[order])
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert (dataset.name, dataset.levels, dataset.classes, dataset.shape) == ("zoo", 256, 3, (3, 4, 5))


def test_flat_folder_has_no_labels_and_grey_stays_one_channel(tmp_path, pixels):
    for index, image in enumerate(pixels[:, 0]):
        write(tmp_path / f"{index}.png", image)
    dataset = load(f"{tmp_path}/")
    assert np.array_equal(dataset.images, pixels[:, :1])
    assert (dataset.labels, dataset.classes) == (None, None)


def test_other_files_are_ignored(tmp_path, pixels):
    for name in ("a/1.png", "b/1.png", ".hidden/1.png", "a/.2.png"):
        write(tmp_path / name, pixels[0])
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    (tmp_path / "a" / "deeper.png").mkdir()
    (tmp_path / "b" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "b" / "README").write_text("no image")
    os.mkfifo(tmp_path / "b" / "pipe.png")
    dataset = load_folder(tmp_path)
    assert len(dataset) == 2
    (note,) = dataset.notes
    # Images come first, then the most frequent: those of a hidden folder count, each.
    start = "9 files or folders were ignored: 1 × image in hidden folders, 3 × hidden, "
    assert note.startswith(start), note
    assert note.count("1 × ") == 4
    assert note.endswith(", 2 others"), note


def test_images_that_are_dropped_with_their_folders_are_counted_one_by_one(tmp_path, pixels):
    for at in range(5):
        for name in ("a/1.png", f"a/more/{at}.png", f"b/x/y/{at}.JPG", "b/1.png", f".cache/{at}.png"):
            write(tmp_path / "classes" / name, pixels[0])
        for name in ("1.png", f"deep/er/{at}.png"):
            write(tmp_path / "flat" / name, pixels[at % 2])
    write(tmp_path / "flat" / "2.png", pixels[1])
    (tmp_path / "classes" / "a" / "more" / "._1.png").write_text("what macOS keeps beside a file")
    (tmp_path / "classes" / "a" / "more" / "loop").symlink_to(tmp_path / "classes" / "a", target_is_directory=True)
    (note,) = load_folder(tmp_path / "classes").notes
    assert "10 × image in folders inside class folders" in note
    assert "5 × image in hidden folders" in note
    assert "2 × folder inside class folders" in note
    (note,) = load_folder(tmp_path / "flat").notes
    assert note == (
        "6 files or folders were ignored: 5 × image in folders beside the images, 1 × folder beside the images"
    )


def test_tables_beside_images_are_said_not_to_be_read(tmp_path, pixels):
    for name in ("1.png", "2.png"):
        write(tmp_path / name, pixels[0])
    for name in ("labels.csv", "LABELS.JSON", "notes.txt"):
        (tmp_path / name).write_text("1.png,3")
    notes = load_folder(tmp_path).notes
    assert notes[0].startswith("3 files or folders were ignored: ")
    assert "1 × .csv" in notes[0]
    assert notes[1] == "labels are those of class folders alone: what .csv and .json files say was not read"


@pytest.mark.parametrize(
    "names",
    [
        ("train", "test1"),
        ("train_images", "test_images"),
        ("images_train", "images_val"),
        ("train2017", "val2017"),
        ("trainset", "testset"),
        ("TrainSet", "TestSet"),
        ("training-set", "evaluation-set"),
        ("train", "unlabeled"),
        ("Train", "holdout"),
        ("train", "extra"),
        ("train", "train2"),
        ("train",),
        ("TEST",),
        ("train_val", "test"),
        ("trainval", "test"),
        ("x_train", "x_test", "cats"),
        ("train", "test1", "cats"),
        ("train cats", "test cats", "dogs"),
    ],
)
def test_folders_called_like_parts_are_asked_about(tmp_path, pixels, refuses, names):
    for name in names:
        write(tmp_path / name / "1.png", pixels[0])
    with refuses("classes or parts?", "rename", "called like parts are"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("names", "like"),
    [
        (("cat", "dog", "unlabeled", "extra"), ""),
        (("testudo", "latest", "devil", "oval", "trainer", "contest"), ""),
        (("train", "bus", "car"), "train"),
        (("Train Station", "Test_Tube", "valley"), "Test_Tube, Train Station"),
        (("tr", "te"), "te, tr"),
        (("cifar_tr", "cifar_va"), "cifar_tr, cifar_va"),
        (("训练集", "测试集"), "测试集, 训练集"),
        (("学習データ", "テスト"), "テスト, 学習データ"),
        (("학습", "테스트"), "테스트, 학습"),
        (("Обучение", "Тест"), "Обучение, Тест"),
        (("entrainement", "test"), "entrainement, test"),
        (("Données d'entraînement", "données de validation"), "Données d'entraînement, données de validation"),
        (("apprentissage", "essai"), "apprentissage, essai"),
        (("entrenamiento", "prueba"), "entrenamiento, prueba"),
        (("addestramento", "prova"), "addestramento, prova"),
        (("fold1", "fold2"), "fold1, fold2"),
        (("testi", "prova", "essai2"), ""),
        (("tr", "tram", "tree"), ""),
        (("treinen", "autos", "te"), ""),
        (("1", "2", "part"), ""),
    ],
)
def test_classes_called_like_parts_are_classes_and_said(tmp_path, pixels, names, like):
    for name in names:
        write(tmp_path / name / "1.png", pixels[0])
    dataset = load(tmp_path)
    assert (dataset.class_names, dataset.pools) == (tuple(sorted(names)), None)
    said = (
        f"class folders are called like parts, and were read as classes: {like}; if they are parts, rename them to "
        "train, valid and test"
    )
    assert dataset.notes == ((said,) if like else ())


def test_parts_under_other_names_with_classes_in_them_are_pointed_to(tmp_path, pixels, refuses):
    for part in ("training_set", "test_set"):
        write(tmp_path / part / "cat" / "1.png", pixels[0])
    with refuses("no images in the folder", "if its folders are parts, rename them to train, valid and test"):
        load(tmp_path)


def test_what_is_said_is_on_stderr_unless_quiet(tmp_path, pixels, capsys):
    write(tmp_path / "1.png", pixels[0])
    write(tmp_path / "2.png", pixels[1, 0])
    assert load(tmp_path, quiet=True).notes == ("1 of 2 images is grey: it became RGB, as others are",)
    assert capsys.readouterr().err == ""
    load(tmp_path)
    assert capsys.readouterr().err == "note: 1 of 2 images is grey: it became RGB, as others are\n"


def test_groups_by_what_is_found_in_the_paths(tmp_path, pixels, refuses):
    names = ["a/scene1_0.png", "a/scene1_1.png", "a/scene2_0.png", "b/scene1_0.png"]
    for name, image in zip(names, pixels):
        write(tmp_path / name, image)
    assert load(tmp_path, groups=r"(scene\d+)_").groups.tolist() == [0, 0, 1, 0]
    assert load(tmp_path, groups=r"^\w/scene\d").groups.tolist() == [0, 0, 1, 2]
    assert load(tmp_path, groups=r"(\w)/scene(\d)").groups.tolist() == [0, 0, 1, 2]
    with refuses("groups do not match every file", "1 of 4 paths", "'a/scene2_0.png'"):
        load(tmp_path, groups="scene1")
    with refuses("groups cannot be read", "regular expression"):
        load(tmp_path, groups="(")
    # Brackets that took no part, or matched nothing, name no group.
    for pattern in (r"(scene2)?", r"(scene2)|.*", r"(scene2|)", r"(x)?(scene2)?"):
        with refuses("groups do not match every file", "of 4 paths", "'a/scene1_0.png'"):
            load(tmp_path, groups=pattern)
    # One of several is enough; as text, "b/" comes before "|".
    assert load(tmp_path, groups=r"(b/)?(scene\d)").groups.tolist() == [1, 1, 2, 0]


def test_class_folders_called_by_other_numbers_are_said(tmp_path, pixels):
    for name in ("0/1.png", "1/1.png", "10/1.png", "2/1.png"):
        write(tmp_path / "other" / name, pixels[0])
        write(tmp_path / "same" / name.replace("10/", "3/"), pixels[0])
    (note,) = load(tmp_path / "other").notes
    assert "10 is label 2, 2 is label 3" in note
    assert load(tmp_path / "same").notes == ()


def test_images_that_lie_deeper_are_pointed_to(tmp_path, pixels, refuses):
    write(tmp_path / "set" / "train" / "cat" / "1.png", pixels[0])
    with refuses("no images in the folder", f"give the path of {tmp_path / 'set' / 'train'}"):
        load_folder(tmp_path / "set")
    write(tmp_path / "other" / "cat" / "1.png", pixels[0])
    write(tmp_path / "other" / "dog" / "black" / "1.png", pixels[0])
    with refuses("a class folder has no images", "images deeper"):
        load_folder(tmp_path / "other")


@pytest.mark.parametrize(
    ("names", "given", "words"),
    [
        (("data/train/a", "data/train/b", "data/test/a", "data/test/b"), "data", ()),
        (("photos/2021/jan", "photos/2021/feb"), "photos/2021", ()),
        (("x/y/z/deep/er/a",), "x/y/z/deep/er", ()),
        (("tr/cat", "tr/dog", "te/cat", "te/dog"), "te", ("if its folders are parts, rename them",)),
        (("cat/train", "cat/test", "dog/train", "dog/test"), None, ("parts come first: train/CLASS",)),
        (("n01/images", "n02/images"), "n01", ()),
    ],
)
def test_images_at_any_depth_are_pointed_to(tmp_path, pixels, refuses, names, given, words):
    for name in names:
        write(tmp_path / name / "1.png", pixels[0])
        write(tmp_path / name / "2.png", pixels[1])
    (tmp_path / names[0] / "loop").symlink_to(tmp_path)
    held = f"which holds {2 * len(names)} × .png"
    with refuses("no images in the folder", held, *words):
        load(tmp_path)
    if given is not None:
        with refuses(f"give the path of {tmp_path / given}"):
            load(tmp_path)
        assert len(load(tmp_path / given, quiet=True)) > 1  # which is advice that can be taken


def test_what_lies_there_instead_of_images_is_counted(tmp_path, pixels, refuses):
    (tmp_path / "a").mkdir()
    for name in ("1.heic", "2.heic", "3.HEIC", "notes.txt", "img"):
        (tmp_path / "a" / name).write_text("x")
    with refuses("no images in the folder", "which holds 3 × .heic", "1 × .txt", "1 × file without an ending"):
        load(tmp_path)
    write(tmp_path / "a" / "1.png", pixels[0])
    beside = ("3 × .heic", "1 × .txt", "1 × file without an ending", "which were ignored; legal: 2 or more")
    with refuses(f"images of {tmp_path} are too few; received 1 image, beside", *beside):
        load(tmp_path)


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz", ".7z", ".rar", ".tar.xz"])
def test_archives_that_are_not_read_are_to_be_unpacked(tmp_path, pixels, refuses, ending):
    folder = tmp_path / "folder"
    for name in ("a/1.png", "b/1.png"):
        write(folder / name, pixels[0])
    if ending in (".zip", ".tar", ".tar.gz"):
        kind = {".zip": "zip", ".tar": "tar", ".tar.gz": "gztar"}[ending]
        made = Path(shutil.make_archive(str(tmp_path / "x"), kind, folder))
    else:
        made = tmp_path / f"x{ending}"
        made.write_bytes(b"packed")
    with refuses("cannot tell how to read the file", "unpack it, and give the path of the folder"):
        load(made)
    shutil.rmtree(folder)
    folder.mkdir()
    made.rename(folder / made.name)
    with refuses("no images in the folder", f"unpack {made.name}, and give the path of the folder"):
        load(folder)


def test_a_single_picture_is_no_folder(tmp_path, pixels, refuses):
    write(tmp_path / "1.png", pixels[0])
    with refuses("cannot tell how to read the file", f"give the folder of all images, e.g. {tmp_path}"):
        load(tmp_path / "1.png")


def test_orientation_decides_the_size(tmp_path, pixels, refuses):
    exif = Image.Exif()
    exif[0x0112] = 6
    write(tmp_path / "1.png", pixels[0], exif=exif)
    write(tmp_path / "2.png", np.rot90(pixels[0], -1, axes=(1, 2)))
    dataset = load_folder(tmp_path)
    assert dataset.shape == (3, 5, 4)
    assert np.array_equal(dataset.images[0], dataset.images[1])
    write(tmp_path / "3.png", pixels[0])
    with refuses("differ in size", "3.png: 5×4"):
        load_folder(tmp_path)


def test_jpeg_is_what_pillow_decodes(tmp_path, pixels):
    write(tmp_path / "a.jpg", pixels[0], quality=95)
    write(tmp_path / "b.JPEG", pixels[1, 0], quality=95)
    dataset = load_folder(tmp_path)
    with Image.open(tmp_path / "a.jpg") as colour, Image.open(tmp_path / "b.JPEG") as grey:
        expected = [np.asarray(colour).transpose(2, 0, 1), np.stack([np.asarray(grey)] * 3)]
    # Grey beside colour becomes three equal channels.
    assert np.array_equal(dataset.images, np.stack(expected))


def test_modes(tmp_path, pixels):
    rgb = Image.fromarray(np.ascontiguousarray(pixels[0].transpose(1, 2, 0)))
    alpha = rgb.copy()
    alpha.putalpha(Image.fromarray(pixels[1, 0]))
    alpha.save(tmp_path / "1.png")
    rgb.quantize(8).save(tmp_path / "2.png", transparency=bytes(range(8)))
    rgb.save(tmp_path / "3.png")
    dataset = load_folder(tmp_path, alpha="drop")
    assert np.array_equal(dataset.images[0], pixels[0])
    assert np.array_equal(dataset.images[1], np.asarray(rgb.quantize(8).convert("RGB")).transpose(2, 0, 1))

    grey = tmp_path / "grey"
    write(grey / "1.png", pixels[0, 0])
    Image.fromarray(np.stack([pixels[0, 0], pixels[1, 0]], axis=-1)).save(grey / "2.png")
    Image.fromarray(pixels[0, 0] > 99).save(grey / "3.png")
    dataset = load_folder(grey, alpha="drop")
    assert np.array_equal(dataset.images[:2, 0], pixels[[0, 0], 0])
    assert np.array_equal(dataset.images[2, 0], (pixels[0, 0] > 99) * 255)


def test_sixteen_bits_are_refused_and_not_clipped(tmp_path, pixels, refuses):
    write(tmp_path / "a.png", pixels[0, 0].astype(np.uint16) * 200)
    with refuses(str(tmp_path / "a.png"), "I;16", "8 bits per channel"):
        load_folder(tmp_path)


def test_mixed_sizes_name_the_first_that_differs(tmp_path, pixels, refuses):
    for name in ("a/1.png", "a/2.png", "b/3.png"):
        write(tmp_path / name, pixels[0])
    write(tmp_path / "b" / "1.png", pixels[0, :, :3])
    write(tmp_path / "b" / "2.png", pixels[0, :, :2])
    with refuses("differ in size", str(tmp_path / "b" / "1.png"), "5×3", "legal: 5×4", "1.png"):
        load_folder(tmp_path)


def test_no_images(tmp_path, pixels, refuses):
    with refuses("no images", str(tmp_path), "DIR/CLASS/*.png", "jpg"):
        load_folder(tmp_path)
    (tmp_path / "empty").mkdir()
    with refuses("no images", str(tmp_path)):
        load_folder(tmp_path)
    write(tmp_path / "full" / "1.png", pixels[0])
    with refuses("class folder has no images", str(tmp_path / "empty"), "remove it"):
        load_folder(tmp_path)
    with refuses("no such folder", "absent"):
        load_folder(tmp_path / "absent")


def test_loose_images_beside_class_folders(tmp_path, pixels, refuses):
    write(tmp_path / "a" / "1.png", pixels[0])
    write(tmp_path / "loose.png", pixels[0])
    with refuses("images both in", "loose.png beside the folder a"):
        load_folder(tmp_path)


@pytest.mark.parametrize("keep", [0, 20, 60])
@pytest.mark.parametrize("name", ["2.png", "2.jpg"])
def test_corrupt_image_is_named(tmp_path, refuses, keep, name):
    noise = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    write(tmp_path / "1.png", noise)
    write(tmp_path / name, noise)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:keep])
    with refuses("cannot read the image", str(tmp_path / name), "replace or remove"):
        load_folder(tmp_path)
