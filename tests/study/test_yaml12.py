"""Studies are read as YAML 1.2 says, and written so that YAML 1.1 reads the same."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from infoplane.study.load import load_study
from infoplane.study.yaml12 import dump, load_yaml
from tiny_study import write_study


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("False", False), ("yes", "yes"), ("No", "No"), ("on", "on"), ("y", "y"),
        ("17", 17), ("-3", -3), ("+4", 4), ("0", 0), ("0o17", 15), ("0x1F", 31), ("017", "017"), ("1_000", "1_000"),
        ("1:30", "1:30"), ("0b11", "0b11"), ("2026-11-29", "2026-11-29"),
        ("1e-3", 1e-3), ("1.", 1.0), (".5", 0.5), ("-2.5E+3", -2500.0), (".inf", math.inf), ("-.Inf", -math.inf),
        ("01.5", "01.5"), ("null", None), ("~", None), ("", None), ("nullx", "nullx"),
        ("'17'", "17"), ('"true"', "true"),
    ],
)  # fmt: skip
def test_scalars(text, value):
    found = load_yaml(f"key: {text}")["key"]
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_one():
    assert math.isnan(load_yaml(".nan"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", ["'a'", "twice", "line 3"]),
        ("x: {a: 1, a: 2}", ["'a'", "twice", "line 1"]),
        ("a: &big [1, 2]\nb: *big", ["aliases", "line 1"]),
        ("a: *big", ["aliases"]),
        ("a: [1, 2", ["line 1"]),
        ("\ta: 1", ["line 1", "token"]),
        ("a: !!python/object/apply:os.getcwd []", ["line 1"]),
        ("[" * 5000, ["deeply"]),
        ("a: " + "9" * 5000, ["5,000 digits", "line 1"]),
        ("a: 0x" + "9" * 5000, ["digits", "line 1"]),
    ],
)
def test_what_is_refused_is_one_line_with_its_place(text, words):
    with pytest.raises(ValueError, match=r"\S") as caught:
        load_yaml(text)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_merge_key_is_a_key_like_any_other():
    assert load_yaml("<<: {a: 1}") == {"<<": {"a": 1}}


TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8) | st.sampled_from(
    ["yes", "no", "on", "017", "1:30", "1e3", "0o7", "0x1", ".5", "1_0", "null", "~", "true", "2026-11-29", "<<", "="]
)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_what_is_written_is_read_by_both_versions(value):
    text = dump(value, allow_unicode=True)
    assert load_yaml(text) == value
    assert yaml.safe_load(text) == value


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("fit: {updates: yes}", "fit.updates"),
        ("fit: {updates: true}", "fit.updates"),
        ("fit: {updates: '100'}", "fit.updates"),
        ("seed: 017", "seed"),
        ("seed: 1:30", "seed"),
        ("density: {weight_norm: yes}", "weight_norm"),
        ("density: {weight_norm: 1}", "weight_norm"),
        ("density: {filters: true}", "filters"),
        ("title: 17", "title"),
        ("title: true", "title"),
    ],
)
def test_a_study_takes_no_value_of_another_kind(tmp_path, refuses, line, path):
    study = write_study(tmp_path)
    key = line.partition(":")[0]
    kept = [each for each in study.read_text().splitlines() if not each.startswith(f"{key}:")]
    study.write_text("\n".join([*kept, line]))
    with refuses(path):
        load_study(str(study))


def test_texts_stay_texts(tmp_path):
    study = write_study(tmp_path)
    kept = [each for each in study.read_text().splitlines() if not each.startswith("title:")]
    study.write_text("\n".join([*kept, "title: yes"]))
    spec = load_study(str(study))
    assert spec.title == "yes"
    assert load_yaml(spec.to_yaml())["title"] == "yes"


def test_a_key_given_twice_is_refused_with_its_line(tmp_path, refuses):
    study = write_study(tmp_path)
    study.write_text(study.read_text() + "\nseed: 1\nseed: 2\n")
    with refuses("not valid YAML", "'seed'", "twice", "line"):
        load_study(str(study))
