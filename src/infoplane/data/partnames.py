"""What folders of official parts are called, and which names of class folders look like these."""

import re
from collections.abc import Sequence

#: what folders of official parts are called, in lower case -> the part
PARTS_CALLED = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("valid", "val", "validation", "dev"), "valid"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation"), "test"),
}

#: what else lies beside parts: no part that could be read, and no class where there are parts
_BESIDE = (
    "unlabeled", "unlabelled", "labeled", "labelled", "holdout", "heldout", "extra", "unsup", "unsupervised",
    "trainval", "calib", "calibration", "query", "gallery", "predict", "prediction", "submission", "ood",
)  # fmt: skip

#: words that say nothing of a class: what may follow a part's name, or stand before it
_FILLERS = (
    "set", "sets", "data", "dataset", "split", "part", "fold", "subset", "folder", "dir", "image", "images", "img",
    "imgs", "picture", "pictures", "pic", "pics", "photo", "photos", "sample", "samples", "example", "examples",
    "file", "files", "full", "all", "small", "large", "big", "mini", "tiny", "new", "old", "raw", "final", "clean",
    "original", "orig", "public", "private", "standard", "png", "jpg", "jpeg", "a", "b", "v", "x", *_BESIDE,
)  # fmt: skip

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+")


def _read(name: str) -> tuple[str | None, str, bool]:
    """Returns the part that a folder's name begins or ends with, what else is in it, and whether that says nothing.

    "train_images" and "TrainImages2" are train, "images", True; "train station" is train, "station", False.
    """
    whole = re.sub(r"[\W\d_]+", "", name).lower()
    if whole in PARTS_CALLED:
        return PARTS_CALLED[whole], "", True
    if whole in _BESIDE:
        return "beside", "", True
    for called in sorted(PARTS_CALLED, key=len, reverse=True):  # in one word: trainset, imagestest
        rest = whole.removeprefix(called) if whole.startswith(called) else whole.removesuffix(called)
        if rest != whole and len(rest) > 2 and rest in _FILLERS:
            return PARTS_CALLED[called], rest, True
    words = [word.lower() for word in _WORDS.findall(name)]
    for at in (0, -1):
        if words and words[at] in PARTS_CALLED:
            rest = words[1:] if at == 0 else words[:-1]
            return PARTS_CALLED[words[at]], " ".join(rest), all(word in _FILLERS for word in rest)
    return None, whole, False


def parts_among(names: Sequence[str]) -> list[str]:
    """Returns the names of folders that may well be parts of one data set and not its classes, none if all are classes.

    They may be parts where all are called like one ("train", "test_images", "unlabeled" beside these); where some are
    called like different parts ("train2017", "val2017", "cats"); and where two names differ in the part alone
    ("train cats", "test cats"). A single one among others ("train", "bus", "car") is a class.
    """
    read = {name: _read(name) for name in names}
    plain = [name for name, (part, _, nothing) in read.items() if part is not None and nothing]
    kinds = {read[name][0] for name in plain} - {"beside"}
    if kinds and (len(kinds) > 1 or len(plain) == len(names)):
        return plain
    for name, (part, rest, _) in read.items():
        same = [
            other for other, (of, left, _) in read.items() if None not in (part, of) and of != part and left == rest
        ]
        if same:
            return [name, *same]
    return []


def read_as_classes(names: Sequence[str] | None) -> list[str]:
    """Returns what must be said of classes of which some are called like parts."""
    like = [name for name in names or () if _read(name)[0] not in (None, "beside")]
    return [f"class folders are called like parts, and were read as classes: {', '.join(like[:5])}"] if like else []
