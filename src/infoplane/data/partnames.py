"""What folders of official parts are called, and which names of class folders look like these."""

import re
import unicodedata
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

#: how parts are abbreviated
_SHORT = {"tr": "train", "te": "test", "ts": "test", "va": "valid", "vl": "valid", "vd": "valid"}

#: how words for parts begin in other languages
_STEMS = {
    "train": (
        "entrain", "apprentiss", "entrena", "treina", "treino", "addestra", "antrena", "antrenman", "egitim",
        "tranings", "trening", "trenov", "uczen", "uczac", "ucenje", "opleid", "koulutus", "latih", "pelatihan",
        "huanluyen", "huan luyen", "обуч", "трен", "навч", "εκπαιδ", "تدريب", "אימון", "प्रशिक्षण", "ฝึก",
        "训练", "訓練", "学習", "学习", "學習", "학습", "훈련",
    ),
    "valid": (
        "valida", "validi", "walid", "dogrulama", "validoint", "overenie", "валид", "проверк", "перевір", "επικυρ",
        "تحقق", "सत्यापन", "验证", "驗證", "検証", "검증",
    ),
    "test": (
        "prueba", "prova", "essai", "teste", "testow", "testov", "testni", "testaus", "valuta", "evalua", "pruef",
        "pruf", "ujian", "kiemtra", "kiem tra", "тест", "контрол", "испыт", "оцен", "δοκιμ", "اختبار", "בדיק", "परीक्षण",
        "ทดสอบ", "测试", "測試", "テスト", "評価", "评估", "테스트", "시험", "평가",
    ),
}  # fmt: skip

#: what is numbered where data are parted at random
_NUMBERED = ("fold", "split", "part", "partition", "subset", "batch", "chunk", "shard")

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


def _plain(text: str) -> str:
    """Returns a text in lower case and without accents, in one spelling however it is encoded."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in apart if not unicodedata.combining(letter))


_PARTS_BEGIN = [(_plain(stem), part) for part, stems in _STEMS.items() for stem in stems]


def _elsewhere(name: str) -> str | None:
    """Returns the part that a folder is called like in short or in another language, or the numbered one itself."""
    plain = _plain(name)
    words = re.sub(r"[\W\d_]+", " ", plain).split()
    if len(words) == 1 and words[0] in _NUMBERED and words[0] != plain:
        return plain
    if (short := next((_SHORT[word] for word in words if word in _SHORT), None)) is not None:
        return short
    spaced = f" {' '.join(words)}"
    for stem, part in _PARTS_BEGIN:
        # Chinese and its neighbours put no spaces between words, of which one may stand anywhere.
        if (f" {stem}" if stem[0] < "\u0f00" else stem) in spaced:
            return part
    return None


def read_as_classes(names: Sequence[str] | None) -> list[str]:
    """Returns what must be said of classes of which some are called like parts.

    In short ("tr", "te"), in other languages and with numbers ("fold1", "fold2") two of them at least must be called
    like different parts: one alone is a word.
    """
    usual = {name: part for name in names or () if (part := _read(name)[0]) not in (None, "beside")}
    other = {name: part for name in names or () if name not in usual and (part := _elsewhere(name)) is not None}
    like = [*usual, *(other if len({*usual.values(), *other.values()}) > 1 else ())]
    if not like:
        return []
    said = f"class folders are called like parts, and were read as classes: {', '.join(sorted(like)[:5])}"
    return [f"{said}; if they are parts, rename them to train, valid and test"]
