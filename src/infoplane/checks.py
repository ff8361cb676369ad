"""What every public function asks of the numbers it is given: one line says what is wrong with them, or they are right.

Arrays may be numpy's or torch's, on any device; torch's are known by what they can do, so that it need not be imported.
"""

import operator
from typing import Any

import numpy as np

from infoplane.errors import UsageError, brief

#: fewest examples whose mean has a standard error
LEAST = 2
#: most classes that labels may come from: tables are as long as there are classes, whether they occur or not
MOST_CLASSES = 65_536
#: torch's floating-point types that numpy lacks; all of them fit into float32
NARROW = ("bfloat16", "float8")
#: torch's types that levels of pixels and indices may come as
INTEGERS = frozenset(f"torch.{name}" for name in ("uint8", "int8", "int16", "int32", "int64"))


def holds_integers(tensor: Any) -> bool:
    """Whether a torch tensor is of whole numbers: neither truth values nor quantised ones."""
    return str(tensor.dtype) in INTEGERS


def type_and_shape(tensor: Any) -> str:
    """Returns a torch tensor's type and shape as messages show them, e.g. "uint8 (8, 1, 4, 4)"."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def as_numpy(values: Any, *, what: str, widen: bool = False) -> np.ndarray:
    """Returns `values` as a numpy array; a torch tensor is detached and copied from its device.

    Args:
        what: What messages call them.
        widen: Whether floating-point types that numpy lacks, such as bfloat16, become float32, which loses nothing.

    Raises:
        UsageError: If it is no array (ragged lists, a tensor type that numpy lacks), or entries are masked.
    """
    try:
        if hasattr(values, "detach"):
            values = values.detach()
            if widen and any(kind in str(values.dtype) for kind in NARROW):
                values = values.float()
            array = values.cpu().resolve_conj().resolve_neg().numpy()
        else:
            array = values if isinstance(values, np.ndarray) else np.asarray(values)
    except Exception as error:  # whatever an array-like's own conversion raises
        received = f"{type(values).__name__} of {getattr(values, 'dtype', 'uneven parts')}"
        raise UsageError(f"{what} are no array", received=received, legal="numpy array or torch tensor") from error
    if np.ma.is_masked(array):
        mend = "leave the masked entries out: values.compressed()"
        raise UsageError(f"{what} are no array", received="masked entries", legal="entries that all count", mend=mend)
    return np.asarray(array)


def check_whole(what: str, value: Any, *, least: int, most: int | None = None) -> int:
    """Returns `value` as an int if it is a whole number in `least … most`.

    Raises:
        UsageError: If it is no whole number (booleans are none) or out of range.
    """
    legal = f"a whole number, {least} or more" if most is None else f"a whole number from {least} to {most}"
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    in_range = number is not None and number >= least and (most is None or number <= most)
    if number is None or not in_range or isinstance(value, bool | np.bool_):
        raise UsageError(f"{what} cannot be used", received=brief(value), legal=legal)
    return number


def check_indices(what: str, indices: Any, count: int | None = None) -> np.ndarray:
    """Returns indices as int64 (n,), n of 0 or more, or raises UsageError: of `count` things, where that is known."""
    array = as_numpy(indices, what=what)
    whole = array.ndim == 1 and (array.dtype.kind in "iu" or not array.size)
    most = 2**63 if count is None else count
    if not whole or (array.size and not 0 <= array.min() <= array.max() < most):
        there = f", {array.min()} to {array.max()}" if whole else ""
        legal = (
            "whole numbers of shape (n,), 0 or more"
            if count is None
            else f"whole numbers of shape (n,), 0 to {count - 1}"
        )
        raise UsageError(f"{what} cannot be used", received=f"{array.dtype} of shape {array.shape}{there}", legal=legal)
    return array.astype(np.int64)


def check_classes(classes: Any, *, what: str = "classes") -> int:
    """Returns a number of classes as an int, or raises UsageError."""
    return check_whole(what, classes, least=1, most=MOST_CLASSES)


def check_numbers(values: Any, *, what: str, kinds: str = "biuf", lowest: bool = False) -> np.ndarray:
    """Returns `values` as a float64 array of finite numbers, of the shape they have.

    Args:
        what: What messages call them.
        kinds: numpy's letters of the kinds that will do: b, i, u, f.
        lowest: Whether −∞ will do too.

    Raises:
        UsageError: There are none; they are complex, text or objects; or one is NaN or infinite.
    """
    array = as_numpy(values, what=what, widen=True)
    if array.dtype.kind not in kinds:
        mend = "take real and imaginary parts as two numbers each: numpy.stack([z.real, z.imag], -1)"
        raise UsageError(
            f"{what} are not real numbers",
            received=array.dtype,
            legal="floating-point numbers",
            mend=mend if array.dtype.kind == "c" else None,
        )
    if not array.size:
        raise UsageError(f"there are no {what}", received=f"shape {array.shape}")
    with np.errstate(over="ignore"):  # a longer type's number that becomes infinite is refused
        array = array.astype(np.float64)
    bad = ~(np.isfinite(array) | np.isneginf(array)) if lowest else ~np.isfinite(array)
    if bad.any():
        found = {"NaN": np.isnan(array), "−∞": np.isneginf(array) & bad, "∞": np.isposinf(array)}
        shown = ", ".join(name for name, each in found.items() if each.any())
        raise UsageError(
            f"{what} are not finite", received=f"{int(bad.sum()):,} of {array.size:,} ({shown})", legal="finite numbers"
        )
    return array


def check_log_probs(
    values: Any, *, what: str = "log-probabilities", over: float | None = None, least: int = LEAST, lowest: bool = False
) -> np.ndarray:
    """Returns log-probabilities as (R, n) float64: R fits, n examples; (n,) is one fit.

    Half precision is refused: of a few hundred nats it rounds whole nats away. So is −∞, which makes a bound infinite
    and so says nothing.

    Args:
        what: What messages call them.
        over: How far rounding may lift them above 0, where they are of discrete values; None where they are not.
        least: Fewest examples that will do.
        lowest: Whether −∞ will do too.

    Raises:
        UsageError: They are not finite numbers, not of these shapes, of too few examples, or of half precision.
    """
    dtype = getattr(values, "dtype", "")
    usual = isinstance(dtype, np.dtype) and dtype.char in "fd"  # whose names would take as long as the numbers
    if not usual and any(kind in (dtype := str(dtype)) for kind in (*NARROW, "float16")):
        mend = "compute them in float32 or better"
        raise UsageError(f"{what} are too coarse", received=dtype, legal="float32 or float64", mend=mend)
    array = check_numbers(values, what=what, kinds="iuf", lowest=lowest)
    legal = "(n,), or (R, n) of R fits"
    if array.ndim not in (1, 2):
        raise UsageError(f"{what} have the wrong shape", received=array.shape, legal=legal)
    if array.shape[-1] < least:
        mend = "pass a column as values.ravel()" if array.size > 1 else None
        raise UsageError(
            f"{what} are of too few examples for a standard error",
            received=f"shape {array.shape}",
            legal=f"{legal}, n of {least} or more",
            mend=mend,
        )
    if over is not None and array.max() > over:
        mend = "pass log q, not q nor −log q"
        raise UsageError(f"{what} are above 0", received=f"up to {array.max():g}", legal="0 or less", mend=mend)
    return np.atleast_2d(array)


def check_same_shape(first: np.ndarray, second: np.ndarray, *, what: str) -> None:
    """Raises UsageError unless two arrays (R, n) pair fit by fit and example by example; nothing is broadcast."""
    if first.shape != second.shape:
        raise UsageError(
            f"{what} do not pair",
            received=f"shapes {first.shape} and {second.shape}",
            legal="the same fits and the same examples on both sides",
        )


def check_activations(values: Any) -> np.ndarray:
    """Returns activations (n, …) as one row per example, (n, d) float64, with no negative zeros.

    Raises:
        UsageError: They are not finite real numbers, or those of no example.
    """
    array = check_numbers(values, what="activations")
    if array.ndim < 1:
        shape = f"shape {array.shape}"
        raise UsageError("activations are of too few examples", received=shape, legal="(n, …), n of 1 or more")
    return array.reshape(len(array), -1) + 0.0


def plural_of(word: str) -> str:
    """Returns the plural of an English noun: of image images, of log-probability log-probabilities."""
    return f"{word[:-1]}ies" if word.endswith("y") and word[-2:-1] not in "aeiou" else f"{word}s"


def check_labels(
    labels: Any, count: int, classes: int | None = MOST_CLASSES, *, what: str = "labels", of: str = "image"
) -> np.ndarray:
    """Returns `labels` as a C-contiguous int64 array `(count,)`, or says why it cannot.

    Args:
        labels: numpy array, torch tensor or sequence of whole numbers, `(count,)`.
        count: Number of examples that they belong to.
        classes: Number of classes; None where any number >= 0 will do, as of groups.
        what: What error messages call the labels.
        of: What they call one of the examples.

    Raises:
        UsageError: If they are not whole numbers, of another length than `count`, or outside the classes.
    """
    array = as_numpy(labels, what=what)
    if array.dtype.kind not in "iu":
        raise UsageError(
            f"{what} are not whole numbers", received=array.dtype, legal="int64 (N,)", mend=_mend_of_labels(array)
        )
    if array.shape != (count,):
        raise UsageError(
            f"{what} do not match the {plural_of(of)}",
            received=f"shape {array.shape}",
            legal=f"shape ({count},), one label per {of}",
            mend=_mend_of_shape(array, count),
        )
    if not count:
        raise UsageError(f"there are no {what}", received=f"shape {array.shape}")
    low, high = int(array.min()), int(array.max())
    if low < 0 or (classes is not None and high >= classes) or high > np.iinfo(np.int64).max:
        legal = "0 or more" if classes is None else f"0 to {classes - 1}"
        mend = None
        if low < 0:
            mend = "leave examples without a label out, or count classes from 0"
        elif high >= MOST_CLASSES:
            mend = "if they are codes, numpy.unique(labels, return_inverse=True)[1] numbers those that occur"
        raise UsageError(f"{what} are outside the classes", received=f"labels {low} to {high}", legal=legal, mend=mend)
    return np.ascontiguousarray(array, dtype=np.int64)


def _mend_of_labels(array: np.ndarray) -> str:
    """What to do about labels that are no whole numbers."""
    if array.dtype.kind == "b" or (array.dtype.kind == "f" and array.ndim < 2 and (array == np.floor(array)).all()):
        return "pass labels.astype(int)"
    if array.dtype.kind in "SUO":
        return "pass numpy.unique(labels, return_inverse=True)[1]"
    return "pass class numbers, not names, one-hot rows or probabilities"


def _mend_of_shape(array: np.ndarray, count: int) -> str | None:
    """What to do about whole numbers in another shape than (count,)."""
    if array.size == count:
        return "pass labels.ravel()"
    one_hot = array.ndim == 2 and len(array) == count and np.isin(array, (0, 1)).all() and (array.sum(1) == 1).all()
    return "pass labels.argmax(1)" if one_hot else None
