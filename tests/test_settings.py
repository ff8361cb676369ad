"""What is wrong with a setting is one line of our own, whatever pydantic calls it; every whole number has a limit."""

from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
from annotated_types import Ge, Le, Lt
from pydantic import BaseModel, Field, ValidationError
from pydantic_core.core_schema import ErrorType

import tiny_study
from infoplane.arguments import members
from infoplane.errors import UsageError
from infoplane.settings import Settings, annotation_of, check_options, first_error, options_model
from infoplane.study.families import FAMILIES
from infoplane.study.load import load_study
from infoplane.subjects.points import POINTS


class Inner(Settings):
    """A section."""

    updates: Annotated[int, Ge(1), Le(10)] = 1
    rates: tuple[Annotated[float, Ge(0), Lt(1)], float] = (0.5, 0.5)


class Outer(Settings):
    """Settings with a field of every shape that studies have."""

    inner: Inner = Inner()
    other: Inner | None = None
    names: tuple[str, ...] = ()
    checkpoints: tuple[Annotated[int, Ge(0), Le(10)] | Literal["end"], ...] = ("end",)
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    schedule: Literal["linear", "constant"] = "linear"
    compile: Literal["auto", True, False] = "auto"
    name: Annotated[str, Field(pattern="^[a-z]+$")] = "a"
    exact: bool = False


def refused(content: dict[str, Any]) -> str:
    """The line about what is wrong."""
    with pytest.raises(UsageError) as caught:
        Outer(**content)
    assert "\n" not in str(caught.value)
    return str(caught.value)


TEN, SHARE = "a whole number from 1 to 10", "a number of 0 or more and below 1"


@pytest.mark.parametrize(
    ("content", "place", "received", "legal"),
    [
        ({"inner": {"updates": 0}}, "inner.updates", "0", TEN),
        ({"inner": {"updates": "x"}}, "inner.updates", "'x'", TEN),
        ({"inner": 3}, "inner", "3", "a section with the keys updates, rates"),
        ({"inner": {"rates": (0.1,)}}, "inner.rates", "(0.1,)", f"a list of 2, {SHARE} and a number"),
        ({"inner": {"rates": (1.0, 0.1)}}, "inner.rates.0", "1.0", SHARE),
        ({"other": {"updates": 11}}, "other.updates", "11", TEN),
        ({"names": "ab"}, "names", "'ab'", "a list, each a text"),
        ({"names": (1,)}, "names.0", "1", "a text"),
        ({"checkpoints": (-1,)}, "checkpoints.0", "-1", "a whole number from 0 to 10, or end"),
        ({"options": {"a": 1}}, "options.a", "1", "a mapping, each value anything"),
        ({"schedule": 3}, "schedule", "3", "linear or constant"),
        ({"compile": 3}, "compile", "3", "auto or true or false"),
        ({"name": "A"}, "name", "'A'", "a text that matches ^[a-z]+$"),
        ({"exact": "maybe"}, "exact", "'maybe'", "true or false"),
    ],
)
def test_one_line_says_where_and_what_is_legal(content, place, received, legal):
    assert refused(content) == f"Outer: {place} cannot be used; received {received}; legal: {legal}"


def test_choices_and_keys_have_their_nearest():
    said = refused({"checkpoints": ("ned",)})
    assert said == "unknown value of checkpoints.0 in Outer; received 'ned'; legal: end; did you mean 'end'?"
    said = refused({"schedule": "linea"})
    assert said.endswith("legal: linear, constant; did you mean 'linear'?")
    said = refused({"inner": {"update": 1}})
    assert said.startswith("unknown key 'inner.update' in Outer; received 'update'; legal: updates, rates; did you")
    assert refused({"updates": 1}).endswith("updates is known elsewhere: inner.updates, other.updates")


#: what errors say of themselves, by the name under which their kind has it
COUNTS = "gt ge lt le multiple_of min_length max_length max_digits actual_length decimal_places whole_digits tz_actual"
TEXTS = (
    "field_type pattern class class_name tag discriminator expected_tags expected encoding encoding_error method_name"
)
CONTEXT: dict[str, Any] = {
    **dict.fromkeys([*COUNTS.split(), "tz_expected", "expected_version"], 1),
    **dict.fromkeys([*TEXTS.split(), "expected_schemes", "name", "attribute", "context_error", "function_name"], "x"),
}
#: kinds whose error is one that a validator raised
OWN = {"value_error": ValueError("said by ours"), "assertion_error": AssertionError("said by ours")}


def of_kind(kind: Any, location: tuple[Any, ...]) -> ValidationError:
    """An error as pydantic raises it, with whatever context errors of that kind have."""
    context = {**CONTEXT, "error": OWN.get(kind, "x")}
    return ValidationError.from_exception_data("Outer", [{"type": kind, "loc": location, "input": 3, "ctx": context}])


@pytest.mark.parametrize("kind", get_args(ErrorType))
@pytest.mark.parametrize("location", [("inner", "updates"), ("checkpoints", 0, "constrained-int"), ()])
def test_no_word_of_pydantic_comes_through(kind, location):
    if kind in ("extra_forbidden", "missing"):  # which end in the key that they are about
        location = ("inner", "updates")
    error = of_kind(kind, location)
    (theirs,) = error.errors(include_url=False)
    assert theirs["type"] == kind
    message = str(first_error(error, Outer, "here", {"inner": {"updates": 3}, "checkpoints": [3]}))
    assert "\n" not in message
    assert "here" in message
    assert theirs["msg"].lower() not in message.lower()
    assert "constrained" not in message
    assert ("said by ours" in message) == (kind in OWN)


def every_model() -> list[type[BaseModel]]:
    """All settings, with those that constructors' and loaders' options make."""
    from infoplane import densities, subjects

    constructors = [made for known in (densities.REGISTRY, subjects.REGISTRY, POINTS) for _, made in known.items()]
    own = [options_model(constructor) for constructor in constructors]
    found, waiting = set(own), [Settings]
    while waiting:
        for each in waiting.pop().__subclasses__():
            if each not in found and each.__module__.startswith("infoplane."):
                found.add(each)
                waiting.append(each)
    return sorted(found, key=lambda each: (each.__module__, each.__name__))


def whole_numbers(hint: Any, metadata: tuple[Any, ...] = ()):
    """Yields the metadata of every whole number in an annotation, wherever in it."""
    if get_origin(hint) is Annotated:
        yield from whole_numbers(get_args(hint)[0], (*metadata, *get_args(hint)[1:]))
    elif hint is int:
        yield metadata
    elif get_origin(hint) is not Literal:
        for part in get_args(hint):
            yield from whole_numbers(part, metadata if get_origin(hint) not in (tuple, dict, list) else ())


def test_every_whole_number_has_a_limit():
    found = 0
    assert any(model.__name__ == "FitSettings" for model in every_model())
    for model in every_model():
        for name in model.model_fields:
            for metadata in whole_numbers(annotation_of(model, name)):
                found += 1
                assert any(hasattr(each, "le") or hasattr(each, "lt") for each in metadata), f"{model}.{name}"
    assert found > 40


def test_the_reader_of_annotations_finds_numbers_wherever_they_stand():
    assert list(whole_numbers(Annotated[int, Le(3)] | None)) == [(Le(3),)]
    assert list(whole_numbers(tuple[Annotated[int, Ge(1)], ...])) == [(Ge(1),)]
    assert list(whole_numbers(dict[str, list[int]])) == [()]
    assert list(members(Annotated[int, Ge(0)] | None)) == [int, type(None)]


HOSTILE: list[Any] = [None, True, -1, 10**30, 1.5, float("nan"), "x", "", [], [None], {}, {"x": 1}, [[1]], ["x", 3]]


def paths(model: type[BaseModel], path: str = ""):
    """Yields the dotted path of every field of a study."""
    for name in model.model_fields:
        yield f"{path}{name}"
        for each in members(annotation_of(model, name)):
            if isinstance(each, type) and issubclass(each, BaseModel):
                yield from paths(each, f"{path}{name}.")


#: what pydantic says of wrong values, in parts that no words of ours hold
THEIRS = (
    "should be",
    "Input",
    "input should",
    "Field required",
    "pydantic",
    "constrained",
    "valid ",
    "[type=",
    "literal[",
)


@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_hostile_values_at_every_field_of_a_study_are_one_line(tmp_path, value):
    study = str(tiny_study.write_study(tmp_path))
    for path in dict.fromkeys(paths(FAMILIES["inversion"].spec)):
        try:
            load_study(study, {path: value})
        except UsageError as error:
            message = str(error)
            assert "\n" not in message
            assert not any(words in message for words in THEIRS), message


def test_keys_of_another_kind_or_level_are_pointed_to(tmp_path, refuses):
    study = str(tiny_study.write_study(tmp_path))
    with refuses("unknown key 'subject.blocks'", "known elsewhere: subject.blocks of kind resnet-classifier"):
        load_study(study, {"subject.blocks": 2})
    with refuses("unknown key 'updates'", "known elsewhere: ", "subject.train.updates", "fit.updates"):
        load_study(study, {"updates": 2})
    with refuses("unknown key 'fit.filters'", "density.filters of kind pixelcnn"):
        load_study(study, {"fit.filters": 2})
    with refuses("unknown key 'density.kernel'", "subject.kernel of kind nash-cnn"):
        load_study(study, {"density.kernel": 2})
    with refuses("unknown key 'subject.train.epochs'", "known elsewhere: subject.train.epochs of another kind"):
        load_study(study, {"subject.train.epochs": 2})
    # One letter off is a slip, whatever else there is.
    with refuses("unknown key 'fit.update'", "did you mean 'updates'"):
        load_study(study, {"fit.update": 2})
    # What another kind takes is not listed as legal here.
    with refuses(
        "unknown key 'subject.hiden'", "legal: kind, train, seeds, filters, hidden, kernel, padding, dropout; did"
    ):
        load_study(study, {"subject.hiden": 2})


def test_options_come_from_signatures():
    def constructor(shape: tuple[int, int], size: Annotated[int, Le(3)] = 1, *, seed: int = 0) -> None: ...

    assert list(options_model(constructor).model_fields) == ["size"]
    assert check_options(constructor, {"size": 2}).model_dump() == {"size": 2}
    with pytest.raises(ValidationError):
        check_options(constructor, {"size": "2"})
