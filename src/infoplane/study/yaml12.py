"""Studies as YAML in one reading, that of YAML 1.2: `yes` and `1:30` are texts, and nothing is said twice.

PyYAML reads YAML 1.1, in which `on` is true, `017` is fifteen and `1:30` ninety.
"""

import re
from typing import Any

import yaml

_TAG = "tag:yaml.org,2002:"
_SCALARS = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    # A number with a leading zero is read in three ways by three readers, so here it is none.
    "int": r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}
#: of a whole number; Python refuses to write out one of some thousands
_MOST_DIGITS = 100


class _Loader(yaml.SafeLoader):
    """Values as YAML 1.2 has them; no key twice, no aliases (a few lines of which can unfold into gigabytes)."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own name and kind

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(None, None, "anchors and aliases are not read: write it out", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name in seen:
                raise yaml.MarkedYAMLError(None, None, f"the key {name!r} is given twice", key.start_mark)
            if name is not None:
                seen.add(name)
        return super().construct_mapping(node, deep)


def _int(loader: _Loader, node: Any) -> int:
    text = loader.construct_scalar(node)
    if len(text) > _MOST_DIGITS:
        raise yaml.MarkedYAMLError(None, None, f"a whole number of {len(text):,} digits", node.start_mark)
    sign, digits = (-1 if text.startswith("-") else 1), text.lstrip("+-")
    base = {"0o": 8, "0x": 16}.get(digits[:2], 10)
    return sign * int(digits[2:] if base != 10 else digits, base)


def _float(loader: _Loader, node: Any) -> float:
    return float(loader.construct_scalar(node).lower().replace(".inf", "inf").replace(".nan", "nan"))


class _Dumper(yaml.SafeDumper):
    """Quotes whatever a reader of either version would take for something else than a text."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: list(resolvers) for first, resolvers in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }


for _name, _pattern in _SCALARS.items():
    _whole = re.compile(rf"(?:{_pattern})\Z")
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", _whole, None)
    _Dumper.add_implicit_resolver(f"{_TAG}{_name}", _whole, None)
_Loader.add_constructor(f"{_TAG}int", _int)
_Loader.add_constructor(f"{_TAG}float", _float)


def load_yaml(text: str) -> Any:
    """Returns what a text in YAML says.

    Raises:
        ValueError: It says nothing that can be read, in one line with its place.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f" in line {mark.line + 1}, column {mark.column + 1}"
        raise ValueError(f"{error.problem or error.context or 'it cannot be read'}{where}") from error
    except (yaml.YAMLError, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        raise ValueError("it is nested too deeply" if deep else " ".join(str(error).split())) from error


def dump(content: Any, **look: Any) -> str:
    """Returns plain values as YAML, keys in their order, so that every reader reads the same."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, **look)
