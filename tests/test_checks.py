"""Good numbers come through the checks as they are; of others one line says what is wrong."""

import numpy as np
import pytest
import torch

from infoplane.checks import (
    as_numpy,
    check_activations,
    check_labels,
    check_log_probs,
    check_numbers,
    check_same_shape,
    check_whole,
    plural_of,
)
from infoplane.data import Dataset
from infoplane.information import contrastive_terms, cross_entropy, difference, label_information, usable_information

VALUES = np.array([[-1.5, -2.0, -0.25], [-3.0, -0.5, -1.0]])


@pytest.mark.parametrize(
    "make",
    [
        np.asarray,
        np.float32,
        np.asfortranarray,
        lambda x: x.tolist(),
        lambda x: torch.tensor(x).requires_grad_(),
        lambda x: torch.tensor(x, dtype=torch.float32),
        lambda x: torch.tensor(x.T).T,
        lambda x: torch.tensor(-1j * x).conj().imag,  # a view with its sign to come
        lambda x: np.ma.masked_array(x),
    ],
)
def test_the_same_numbers_of_any_kind_come_through(make):
    found = check_log_probs(make(VALUES))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, VALUES)
    np.testing.assert_array_equal(check_activations(make(VALUES)), VALUES)


def test_one_fit_is_a_row():
    assert check_log_probs(VALUES[0]).shape == (1, 3)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([np.nan, -1.0, -2.0], "1 of 3 (NaN)"),
        ([-np.inf, np.inf, -2.0], "2 of 3 (−∞, ∞)"),
        ([[-1.0], [-2.0], [-3.0]], "values.ravel()"),
        (-1.0, "wrong shape"),
        (np.zeros((2, 2, 2)), "(R, n) of R fits"),
        ([], "there are no"),
        ([-1.0], "too few examples"),
        (np.array([-1.0, -2.0], dtype=np.float16), "float32 or better"),
        (torch.tensor([-1.0, -2.0]).bfloat16(), "float32 or better"),
        (np.array([-1j, -2.0]), "not real numbers"),
        (np.array([-1.0, None], dtype=object), "not real numbers"),
        (["-1", "-2"], "not real numbers"),
        (np.array([True, False]), "not real numbers"),
        (None, "not real numbers"),
        ([[-1.0], [-1.0, -2.0]], "no array"),
        (torch.zeros(3, device="meta"), "no array"),
        (torch.eye(3).to_sparse(), "no array"),
        (np.ma.masked_array([-1.0, -2.0], mask=[0, 1]), "masked"),
    ],
)
def test_log_probabilities_that_cannot_be_used(refuses, values, words):
    with refuses("log-probabilities", words):
        check_log_probs(values)


def test_log_probabilities_of_a_label_are_not_above_0(refuses):
    with refuses("above 0", "up to 0.9", "pass log q"):
        check_log_probs([0.5, 0.9], over=1e-6)
    assert check_log_probs([0.5, 0.9]).max() == 0.9  # a density may be


def test_nothing_is_broadcast(refuses):
    many, column = np.zeros((3, 10)), np.zeros((3, 1))
    for second in (column, np.zeros(10), np.zeros((10, 3)), np.zeros((3, 9))):
        for compare in (usable_information, difference):
            with refuses("log-probabilities"):
                compare(many, second)
    with refuses("do not pair", "(3, 10) and (3, 9)"):
        check_same_shape(many, many[:, 1:], what="rows")


def test_a_score_of_no_chance_is_one_but_not_of_a_true_pair(refuses):
    scores = np.array([[-1.0, -np.inf], [-2.0, -2.0]])
    np.testing.assert_allclose(contrastive_terms(scores), [np.log(2), 0])
    with refuses("scores of true pairs are not finite"):
        contrastive_terms(scores[:, ::-1])
    with refuses("contrastive scores are not square"):
        contrastive_terms(scores[:1])
    with refuses("contrastive scores are not finite"):
        contrastive_terms(np.full((2, 2), np.nan))


def test_activations_of_any_type_and_shape():
    values = np.arange(-6.0, 6.0).reshape(3, 2, 2)
    for each in (torch.tensor(values).bfloat16(), torch.tensor(values).half(), torch.tensor(values).to(torch.int8)):
        np.testing.assert_array_equal(check_activations(each), values.reshape(3, 4))
    np.testing.assert_array_equal(check_activations([True, False]), [[1.0], [0.0]])
    assert not np.signbit(check_activations([-0.0, 0.0])).any()


@pytest.mark.parametrize("values", [np.zeros((0, 3)), np.float64(1.0), [1j, 2.0], [np.nan, 1.0], "text", None, {}])
def test_activations_that_cannot_be_used(refuses, values):
    with refuses("activations"):
        check_activations(values)


def test_labels_of_any_whole_type():
    for labels in ([0, 2, 1], np.array([0, 2, 1], dtype=np.uint8), torch.tensor([0, 2, 1])):
        found = check_labels(labels, 3, 3)
        assert (found.dtype, found.tolist()) == (np.int64, [0, 2, 1])


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([[0], [1], [2]], "labels.ravel()"),
        (np.eye(3, dtype=int), "labels.argmax(1)"),
        (np.eye(3), "class numbers, not names, one-hot rows"),
        ([0.0, 1.0, 2.0], "labels.astype(int)"),
        ([0.5, 1.0, 2.0], "class numbers"),
        ([0.0, np.nan, 2.0], "class numbers"),
        ([True, False, True], "labels.astype(int)"),
        (["cat", "dog", "cat"], "numpy.unique"),
        ([0, 1], "shape (2,)"),
        ([0, 1, 3], "0 to 2"),
        ([0, -1, 1], "leave examples without a label out"),
        (np.array([0, 1, 2**63], dtype=np.uint64), "outside the classes"),
        (1, "do not match the examples"),
        (None, "not whole numbers"),
    ],
)
def test_labels_that_cannot_be_used_say_how_they_could(refuses, labels, words):
    with refuses("labels", words):
        check_labels(labels, 3, 3, of="example")


def test_no_label_is_so_large_that_a_table_of_classes_would_not_fit(refuses):
    assert check_labels([0, 65_535], 2).tolist() == [0, 65_535]
    for large in (65_536, 10**15, 3 * 10**18):
        with refuses("labels are outside the classes", "0 to 65535", "numpy.unique"):
            check_labels([0, large], 2)
    assert check_labels([0, 10**15], 2, None, what="groups").tolist() == [0, 10**15]
    with refuses("classes cannot be used", "from 1 to 65536"):
        label_information(np.zeros(4), [0, 1, 0, 1], classes=10**18)
    images = np.zeros((4, 1, 2, 2), np.uint8)
    with refuses("labels of data set 'x' are outside the classes", "0 to 65535"):
        Dataset("x", images, np.array([0, 1, 2, 10**15]))
    with refuses("classes of data set 'x' cannot be used", "from 1 to 65536"):
        Dataset("x", images, np.arange(4), classes=10**15)


def test_whole_numbers(refuses):
    assert check_whole("n", np.int8(3), least=1) == 3
    for value in (2.0, True, "3", None, np.array([1, 2]), 0, 11):
        with refuses("n cannot be used", "1 to 10"):
            check_whole("n", value, least=1, most=10)


def test_numbers_that_become_infinite_in_double_precision(refuses):
    with refuses("values are not finite"):
        check_numbers(np.array(["1e4000"], dtype=np.longdouble), what="values")


def test_what_is_checked_is_what_is_used():
    log_probs, labels = torch.tensor(VALUES), torch.tensor([0, 1, 1])
    assert cross_entropy(log_probs) == cross_entropy(VALUES)
    assert label_information(log_probs, labels, classes=2) == label_information(VALUES, labels.numpy(), classes=2)
    assert as_numpy(log_probs, what="x").shape == (2, 3)


def test_nouns_have_their_plurals():
    assert [plural_of(word) for word in ("image", "log-probability", "day")] == ["images", "log-probabilities", "days"]
