"""Settings: validated fields, of which no unknown one is taken. What is wrong with one is a line in our own words.

Pydantic finds out what is wrong and where; what is legal there is read from the field itself, so that none of its own
words come through, whatever they are.
"""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeGuard, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from infoplane.arguments import choice_shown, described, members, of_any_length
from infoplane.errors import UsageError, unknown


class _Told(type(BaseModel)):
    """Makes one line of what is wrong with a call. Within another model's validation pydantic makes no such call."""

    if not TYPE_CHECKING:  # to which a call is that of the model

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().__call__(*args, **kwargs)
            except ValidationError as error:
                raise first_error(error, cls, cls.__name__, kwargs) from None


class Settings(BaseModel, metaclass=_Told):
    """Settings of which no unknown one is taken, and which do not change.

    Attributes:
        by_kind: What else it takes beside its own fields, by the value of its field `kind`; None where that is nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    by_kind: ClassVar[Callable[[], Mapping[str, type[BaseModel]]] | None] = None


#: arguments of constructors and loaders that are no options: what the data, or the study's seed, decide
DECIDED = ("shape", "levels", "context", "classes", "seed")


@cache
def options_model(constructor: Callable[..., Any]) -> type[BaseModel]:
    """Returns the model of a constructor's options: its own signature is the only place where they are written down."""
    fields: dict[str, Any] = {
        name: (parameter.annotation, parameter.default)
        for name, parameter in inspect.signature(constructor).parameters.items()
        if name not in DECIDED
    }
    return create_model("options", __base__=Settings, **fields)


def check_options(constructor: Callable[..., Any], options: Mapping[str, Any]) -> BaseModel:
    """Returns a constructor's options, defaults included; raises pydantic's error where one is not of its kind.

    A text is no number, and true is none either, as in the rest of a study.
    """
    return options_model(constructor).model_validate_json(json.dumps(dict(options), default=str), strict=True)


def options_for(
    constructor: Callable[..., Any], options: Mapping[str, Any], where: str, *, at: str = ""
) -> dict[str, Any]:
    """Returns a constructor's options, defaults included; `where` they stand, and `at` what path, is for messages.

    Raises:
        UsageError: One is unknown or cannot be used.
    """
    try:
        return check_options(constructor, options).model_dump()
    except ValidationError as error:
        raise first_error(error, options_model(constructor), where, options, at=at) from error


def first_error(
    error: ValidationError,
    model: type[BaseModel],
    where: str,
    content: Any,
    *,
    at: str = "",
    hidden: Mapping[str, type[BaseModel]] | None = None,
    instead: Callable[[tuple[Any, ...]], str | None] | None = None,
) -> UsageError:
    """Returns what is wrong with the first bad field, in one line that names its path and what is legal there.

    Args:
        model: What was validated.
        where: What it stands in: a file, a class.
        content: What was validated, before it was.
        at: The path of the model in there.
        hidden: Parts of paths that no file knows of -> the model that stands there.
        instead: What is said of an unknown key at a path that has another form there.
    """
    first = error.errors(include_url=False)[0]
    location, received = first["loc"], first.get("input")
    if first["type"] == "missing" and isinstance(location[-1], int):  # a list is too short: it is what is wrong
        location = location[:-1]
    path, field, beside = _resolved(model, location, content, hidden or {})
    name = ".".join(filter(None, (at, *map(str, path)))) or "all of it"
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        found = instead(tuple(path)) if instead is not None else None
        legal = [*_keys(field), *_keys(beside)]
        mend = found or _elsewhere(model, key, name.rpartition(".")[0])
        return unknown(f"key {name!r} in {where}", key, legal, elsewhere=mend)
    if first["type"] == "missing" and location == first["loc"]:
        return UsageError(f"{where}: {name} is missing", legal=described(field))
    if first["type"] in ("value_error", "assertion_error"):  # of a validator of this package, whose words are its own
        return UsageError(f"{where}: {name}: {first.get('ctx', {}).get('error')}")
    choices = [choice for each in members(field) if get_origin(each) is Literal for choice in get_args(each)]
    if isinstance(received, str) and any(isinstance(choice, str) for choice in choices):
        return unknown(f"value of {name} in {where}", received, [choice_shown(choice) for choice in choices])
    return UsageError(f"{where}: {name} cannot be used", received=shown(received), legal=described(field))


def _resolved(
    model: Any, location: Sequence[Any], content: Any, hidden: Mapping[str, type[BaseModel]]
) -> tuple[list[Any], Any, Any]:
    """The path of an error as a file has it; what stands there, or the owner of an unknown key; what else it takes.

    Parts that pydantic adds for itself, names of unions' members and the like, are left out.
    """
    path: list[Any] = []
    field, value, beside = model, content, None
    for part in location:
        if part in hidden:
            field = hidden[part]
            continue
        owner = next(filter(_is_model, members(field)), None)
        beside = None if owner is None else _beside(owner, value)
        inner = next((found for each in (field, beside) if (found := _step(each, part)) is not None), None)
        if inner is None:
            if owner is None:  # the rest are pydantic's own
                return path, field, None
            return [*path, part], owner, beside
        path.append(part)
        field, value = inner, _at(value, part)
    return path, field, beside


def _at(value: Any, part: Any) -> Any:
    """What stands at a key or place, if anything does."""
    if isinstance(value, Mapping):
        return value.get(part)
    return value[part] if isinstance(value, list | tuple) and isinstance(part, int) and part < len(value) else None


def _step(field: Any, part: Any) -> Any:
    """What stands at a key or place of what a field holds, or None."""
    for option in members(field):
        parts, origin = get_args(option), get_origin(option)
        if _is_model(option) and part in option.model_fields:
            return annotation_of(option, part)
        if not isinstance(origin, type) or not parts:
            continue
        if issubclass(origin, Mapping):
            return parts[1]
        if issubclass(origin, Sequence) and isinstance(part, int):
            return parts[0] if origin is not tuple or of_any_length(parts) else parts[min(part, len(parts) - 1)]
    return None


def annotation_of(model: type[BaseModel], name: str) -> Any:
    """Returns what a field is annotated with, limits included."""
    info = model.model_fields[name]
    return Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation


def _is_model(kind: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _beside(owner: type[BaseModel], value: Any) -> type[BaseModel] | None:
    """What a section takes beside its own fields, by its kind."""
    by_kind = getattr(owner, "by_kind", None)
    if by_kind is None:
        return None
    kind = _at(value, "kind") or getattr(owner.model_fields.get("kind"), "default", None)
    return by_kind().get(kind) if isinstance(kind, str) else None


def _keys(model: Any) -> list[str]:
    return list(model.model_fields) if _is_model(model) else []


def _elsewhere(root: type[BaseModel], key: str, here: str) -> str | None:
    """Where else a key is known, in words."""
    own = f"{here}.{key}".lstrip(".")
    places = [f"{place} of another kind" if place == own else place for place in dict.fromkeys(_places(root, key, ""))]
    return f"{key} is known elsewhere: {', '.join(places[:4])}" if places else None


def _places(model: type[BaseModel], key: str, path: str) -> Iterator[str]:
    """Yields the paths at which a model and what it is made of know a key."""
    for name in model.model_fields:
        place = f"{path}.{name}".lstrip(".")
        if name == key:
            yield place
        for option in filter(_is_model, members(annotation_of(model, name))):
            yield from _places(option, key, place)
    for kind, options in by_kind().items() if (by_kind := getattr(model, "by_kind", None)) is not None else ():
        if key in options.model_fields:
            yield f"{path}.{key} of kind {kind}".lstrip(".")


def shown(value: Any) -> str:
    """Returns a value as a message shows it."""
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}…"
