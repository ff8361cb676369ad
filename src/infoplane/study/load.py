"""Studies from files: by name or path, at a scale, with changes; unknown keys are refused with their path."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from infoplane import data
from infoplane.errors import UsageError, unknown
from infoplane.files import read_text
from infoplane.settings import first_error, shown
from infoplane.study import yaml12
from infoplane.study.base import LAPTOP, PAPER, Study, check_texts, leaf_values, set_field
from infoplane.study.families import DEFAULT, FAMILIES

#: what a study is called, which no note speaks of
_NAMES = ("name", "title", "figure")
#: most lines and commas of what is read of a study: more take seconds, and no run has so many parts
_MOST_ENTRIES = 20_000
#: what stands under this in a data set's section holds for every scale
EVERY = "every"


def named_studies() -> list[str]:
    """Returns the names of the studies that come with the package."""
    folder = resources.files("infoplane") / "studies"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_study(study: str, changes: Mapping[str, Any] | None = None, *, scale: str | None = None) -> Study:
    """Returns the study of that name, or in that YAML file, at a scale, with `changes` applied.

    Args:
        study: A name out of `named_studies()` or the path of a YAML file.
        changes: Dotted path -> value, e.g. {"fit.updates": 100}; they go before those of the scale.
        scale: One of `scales_of(study)`; default: "laptop" where there is one.

    Raises:
        UsageError: There is no such study or scale, or a field is unknown or has an illegal value.
    """
    files, changes = _files(study), changes or {}
    legal = _scales_of(files, study)
    _check_free(changes, "--set", legal)
    for where, part in _parts(files, study, legal):
        _check_free(part, where, legal)
        if "name" in part:
            raise _named(where, part["name"])
    name = changes.get("name")
    if isinstance(name, str) and _passes_for_another(name, files, legal):
        raise _named("--set", name)
    if scale is None:
        scale = LAPTOP if LAPTOP in legal else legal[0] if legal else None
    elif scale not in legal:
        raise unknown(f"scale of {study}", scale, legal, mend=None if legal else "leave --scale out: there is only one")
    # Another data set may need other sizes and networks: what a file says of it goes before the scale's values.
    asked = _merged(files, scale, changes, None, study)
    content = _merged(files, scale, changes, asked, study)
    changed = ", ".join(f"{path} = {_short(value)}" for path, value in sorted(changes.items()) if path not in _NAMES)
    if changed and "note" not in changes and isinstance(content.get("note"), str):
        content["note"] = f"{content['note'].strip()} Changed here: {changed}."  # the note may speak of just that
    spec = validate(content, where=study)
    spec.check(study)
    return spec


def _check_free(changes: Mapping[str, Any], where: str, scales: list[str]) -> None:
    """Raises UsageError where what the loader decides is set: numbers of one scale would go under another's name."""
    if "scale" in changes:
        legal = ", ".join(f"--scale {scale}" for scale in scales) or "no scale: this study has only one"
        received = f"{where}: scale = {shown(changes['scale'])}"
        raise UsageError("the scale is chosen, not set", received=received, legal=legal, mend="leave the key out")


def _passes_for_another(name: str, files: "list[_File]", scales: list[str]) -> bool:
    """Whether a name, in small or capital letters, is that of a packaged study, or of one or of this study at a scale.

    The study's own name is none of another.
    """
    if name == files[-1].content["name"]:
        return False
    packaged = named_studies()
    known = {PAPER, LAPTOP, *scales, *(scale for each in packaged for scale in scales_of(each))}
    names = [*packaged, *(str(file.content["name"]) for file in files)]
    taken = {each.casefold() for each in names}
    taken |= {f"{each}-{scale}".casefold() for each in names for scale in known}
    return name.casefold() in taken


def _named(where: str, name: Any) -> UsageError:
    """Returns the error for a name under which numbers would pass for those of another study or scale."""
    return UsageError(
        "the name would be that of another study or scale",
        received=f"{where}: name = {shown(name)}",
        legal="name: in the study's own file, or a name of its own in --set; title: for what the page is called",
    )


def _parts(files: "list[_File]", study: str, scales: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields what files say of one scale or data set, and where, or raises UsageError where nobody would read it."""
    for file in files:
        for name, part in file.scales.items():
            yield f"scales.{name} of {study}", part
        for dataset, parts in _datasets(file.datasets, study).items():
            for name, part in parts.items():
                where = f"datasets.{dataset}.{name} of {study}"
                if name not in (EVERY, *scales):
                    raise unknown(f"scale of {where}", name, (EVERY, *scales))
                yield where, part


@dataclass(frozen=True)
class _File:
    """What one file says: of every scale and data set, scale by scale, and data set by data set."""

    content: dict[str, Any]
    scales: Any
    datasets: Any


def _merged(
    files: list[_File], scale: str | None, changes: Mapping[str, Any], asked: Mapping[str, Any] | None, study: str
) -> dict[str, Any]:
    """What files and changes say in all; each file goes before the study that it is like, whatever the scale.

    Args:
        asked: What they say in all without their values for the data set; None to leave these out.
    """
    content: dict[str, Any] = {}
    for file in files:
        of_dataset = {} if asked is None else _of_dataset(file.datasets, asked, scale, study)
        named = {} if scale is None and file.content.get("scale") is not None else {"scale": scale}
        for part in (file.content, {**named, **file.scales.get(scale or "", {})}, of_dataset):
            for path, value in part.items():
                if isinstance(path, str):
                    set_field(content, path, value)
                else:
                    content[path] = value  # validation refuses it
    for path, value in changes.items():
        set_field(content, path, value)
    return content


def _short(value: Any) -> str:
    """A value as one would give it to `--set`, on one line."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = " ".join(text.split())
    return text if len(text) < 60 else f"{text[:57]}…"


def scales_of(study: str) -> list[str]:
    """Returns the scales of a study, the papers' first; none where it has only one."""
    return _scales_of(_files(study), study)


def _scales_of(files: list[_File], study: str) -> list[str]:
    names = dict.fromkeys(name for file in files for name in _scales(file.scales, study))
    return [PAPER, *(name for name in names if name != PAPER)] if names else []


def _files(study: str) -> list[_File]:
    """What a study's file says, after what those say that it is `like` but for this (keys may be dotted paths)."""
    if study in named_studies():
        text = (resources.files("infoplane") / "studies" / f"{study}.yaml").read_text(encoding="utf-8")
    elif study.endswith((".yaml", ".yml")):
        text = _read(Path(study))
    else:
        raise unknown("study", study, named_studies(), mend="or give the path of a .yaml file")
    _check_size(text, study)
    parsed = _parse(text, study)
    own = {"name": Path(study).stem, **parsed}
    if own.get("scale") is None:
        own.pop("scale", None)  # a resolved study says so where there are no scales
    elif not _is_resolved(parsed, study):
        _check_free({"scale": own["scale"]}, study, [])
    like = own.pop("like", None)
    file = _File(own, own.pop("scales", {}), own.pop("datasets", {}))
    if like is None:
        return [file]
    if not isinstance(like, str) or like not in named_studies():
        raise unknown(f"study that {study} is like", str(like), named_studies())
    return [*_files(like), file]


def _is_resolved(content: Mapping[str, Any], where: str) -> bool:
    """Whether a file is what a run keeps of its study: nothing is left to defaults or to its scale, which is a name."""
    if content.get("scale") is None or "name" not in content or {"like", "scales", "datasets"} & content.keys():
        return False
    return (
        dict(leaf_values(content)).keys()
        == dict(leaf_values(validate(content, where=where).model_dump(mode="json"))).keys()
    )


def _of_dataset(datasets: Any, content: Mapping[str, Any], scale: str | None, study: str) -> dict[str, Any]:
    """What a study's file changes for the data set that it is to use, which may be called by its path.

    That is what stands under `every`, then what stands under the scale's name.
    """
    section = content.get("data")
    name = section.get("name") if isinstance(section, dict) else None
    if not isinstance(name, str) or not datasets:
        return {}
    known = _datasets(datasets, study)
    names = (name, Path(name).name, data.catalogue_name(name))
    parts = next((known[each] for each in names if each in known), {})
    return {**parts.get(EVERY, {}), **parts.get(scale or "", {})}


def _datasets(datasets: Any, study: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns the section `datasets` of a file, or raises UsageError where it cannot be read."""
    wrong = datasets if not _is_changes(datasets or {}) else None
    for parts in (datasets or {}).values() if wrong is None else ():
        if not _is_changes(parts) or not all(map(_is_changes, parts.values())):
            wrong = parts
    if wrong is not None:
        legal = "name of a data set -> every, or name of a scale -> {dotted path: value}"
        raise UsageError(f"{study}: datasets cannot be read", received=shown(wrong), legal=legal)
    return datasets or {}


def _scales(scales: Any, study: str) -> list[str]:
    if not isinstance(scales, dict) or not all(map(_is_changes, scales.values())) or not _is_changes(scales):
        legal = "name of a scale -> {dotted path: value}"
        raise UsageError(f"{study}: scales cannot be read", received=shown(scales), legal=legal)
    return [PAPER, *(name for name in scales if name != PAPER)] if scales else []


def _is_changes(part: Any) -> bool:
    return isinstance(part, dict) and all(isinstance(path, str) for path in part)


def read_study(path: Path) -> Study:
    """Returns the resolved study that a run keeps in its folder."""
    return study_of(_read(path), str(path))


def study_of(text: str, where: str) -> Study:
    """Returns the resolved study of a YAML text."""
    return validate(_parse(text, where), where=where)


def _read(path: Path) -> str:
    try:
        return read_text(path)
    except (OSError, ValueError) as error:  # ValueError: no text, or no name that a file can have
        reason = error.strerror if isinstance(error, OSError) else None
        mend = f"{reason[0].lower()}{reason[1:]}" if reason else "it holds something else than text in UTF-8"
        raise UsageError("cannot read the study", received=path, legal="a readable YAML file", mend=mend) from error


def _check_size(text: str, where: str) -> None:
    """Raises UsageError for what takes long to read, and asks for more than any run can have parts."""
    if (count := text.count("\n") + text.count(",")) > _MOST_ENTRIES:
        raise UsageError(
            f"{where}: too many entries", received=f"{count:,} lines and commas", legal=f"{_MOST_ENTRIES:,} at most"
        )


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        content = yaml12.load_yaml(text)
    except ValueError as error:
        raise UsageError("the study is not valid YAML", received=where, mend=str(error)) from error
    if not isinstance(content, dict):
        held = "nothing" if content is None else f"a {type(content).__name__}"
        raise UsageError("the study is not a mapping", received=f"{held} in {where}", legal="key: value lines")
    return content


def validate(content: Mapping[str, Any], *, where: str) -> Study:
    """Returns the spec, or raises a one-line UsageError that names the path of the first bad field."""
    kind = content.get("kind", DEFAULT)
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise unknown(f"kind of study in {where}", str(kind), FAMILIES)
    model = FAMILIES[kind].spec
    check_texts(content)
    _check_keys(content, where)
    try:
        # As JSON, for which pydantic has a mode in which "17" is no number and true is not 1.
        spec = model.model_validate_json(json.dumps(content, default=str), strict=True)
    except ValidationError as error:
        raise first_error(error, model, where, content, hidden=model.variants, instead=model.instead) from error
    return spec.resolve()


def _check_keys(content: Any, where: str, path: str = "") -> None:
    """Raises UsageError where a key is no text: JSON would make one of it."""
    items = content.items() if isinstance(content, Mapping) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        if isinstance(content, Mapping) and not isinstance(key, str):
            legal = "a name as each key"
            raise UsageError(f"{where}: {path or 'the study'}: not a name", received=shown(key), legal=legal)
        _check_keys(value, where, f"{path}.{key}" if path else str(key))


def parse_value(text: str) -> Any:
    """Reads the value of a `--set key=value` as YAML does."""
    _check_size(text, "--set")
    try:
        return yaml12.load_yaml(text)
    except ValueError as error:
        legal = "a YAML value, e.g. 100 or [1, 2]"
        raise UsageError("cannot read the value", received=text, legal=legal, mend=str(error)) from error
