"""Pickles of plain data and arrays of bytes, read without trusting them.

A pickle is a program: it names functions and calls them. The Python version of CIFAR-10 needs three functions of
numpy, to make arrays of bytes. Here a file is first read as a list of instructions, none of which is carried out, and
refused if it holds another instruction or names another function than such files do. Only then is it carried out, and
even then the three names mean stand-ins that can make nothing but arrays of bytes.
"""

import io
import pickle
import pickletools
import warnings
from typing import Any, ClassVar

import numpy as np

from infoplane.data.files import corrupt

_PLAIN = ("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1")
_TEXT = ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
_TUPLES = ("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")
_LISTS = ("EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS")
_SLOTS = ("GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
_CALLS = ("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD")  # of the stand-ins below, nothing else can be named
_FRAME = ("PROTO", "FRAME", "MARK", "POP", "POP_MARK", "STOP")
_ALLOWED = frozenset((*_PLAIN, *_TEXT, *_BYTES, *_TUPLES, *_LISTS, *_SLOTS, *_CALLS, *_FRAME))

#: A memory slot beyond this one: the unpickler would allocate all slots before it.
_MOST_SLOTS = 1 << 20

#: A message says no more of a file than so many signs.
_MOST_SAID = 200

_LEGAL = "a pickle of lists, text, numbers and arrays of bytes, as the official files are"


class _Sealed(type):
    """Classes that a pickle cannot change: the instruction BUILD sets attributes of whatever it is given."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise ValueError(f"a change of {cls.__name__}.{name}")


class _Array(metaclass=_Sealed):
    """What `numpy.core.multiarray._reconstruct` stands for: an array that its state makes."""

    __slots__ = ("value",)

    def __init__(self, *_: Any) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        if isinstance(content, str):  # bytes of Python 2 in the oldest protocol
            content = content.encode("latin1")
        self.value = _bytes_array(content, dtype, shape, "F" if fortran else "C")


class _Buffer(_Array):
    """What `numpy._core.numeric._frombuffer` stands for: the array in its arguments."""

    __slots__ = ()

    def __init__(self, content: Any, dtype: Any, shape: Any, order: Any) -> None:
        self.value = _bytes_array(content, dtype, shape, order)


class _Dtype(metaclass=_Sealed):
    """What `numpy.dtype` stands for: bytes, and nothing else."""

    __slots__ = ()

    def __init__(self, name: Any, *_: Any) -> None:
        if name not in ("u1", b"u1", "|u1", b"|u1"):
            raise ValueError(f"an array of type {_shown(name)}, not of bytes")

    def __setstate__(self, _: Any) -> None:
        pass  # byte order and the like, which bytes do not have


class _Encode(metaclass=_Sealed):
    """What `_codecs.encode` stands for: bytes, as Python 3 writes them in old protocols."""

    __slots__ = ()

    def __new__(cls, text: Any, encoding: Any) -> Any:
        if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
            raise ValueError(f"text in {_shown(encoding)}")
        return text.encode("latin1")


class _Name(metaclass=_Sealed):
    """What `numpy.ndarray` stands for: an argument that is not used."""

    __slots__ = ()


_STAND_INS: dict[str, type] = {
    "numpy.core.multiarray _reconstruct": _Array,
    "numpy._core.multiarray _reconstruct": _Array,
    "numpy.core.numeric _frombuffer": _Buffer,
    "numpy._core.numeric _frombuffer": _Buffer,
    "numpy dtype": _Dtype,
    "numpy ndarray": _Name,
    "_codecs encode": _Encode,
}


def read_pickle(file: object, content: bytes) -> Any:
    """Returns what a pickle holds; in a mapping, arrays are uint8 arrays. Text of Python 2 comes as bytes.

    Args:
        file: What error messages call the file.
        content: The pickle.

    Raises:
        UsageError: It is damaged, or holds or does anything else than the official files.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd text in damaged files
            _inspect(content)
            value = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # on damaged files pickle raises almost anything
        received = str(error) if isinstance(error, _Refused) else f"{type(error).__name__}: {error}"
        mend = "nothing in it was run" if isinstance(error, _Refused) else "it is damaged or cut short: get it again"
        if len(received) > _MOST_SAID:
            received = f"{received[:_MOST_SAID]} …"
        raise corrupt(file, received, _LEGAL, mend) from error
    if isinstance(value, dict):
        return {key: item.value if isinstance(item, _Array) else item for key, item in value.items()}
    return value


#: its parts are not in the type stubs
_InPython: Any = pickle._Unpickler


class _Refused(Exception):
    """A pickle does what it need not do."""


class _Unpickler(_InPython):
    """Python's own unpickler in Python, whose instructions can be replaced: here, those that make mappings."""

    def _checked_setitem(self) -> None:
        _check_keys(self.stack[-2:-1])
        _InPython.load_setitem(self)

    def _checked_setitems(self) -> None:
        _check_keys(self.stack[::2])  # what lies above the last mark
        _InPython.load_setitems(self)

    def _checked_dict(self) -> None:
        _check_keys(self.stack[::2])
        _InPython.load_dict(self)

    dispatch: ClassVar[dict[int, Any]] = {
        **_InPython.dispatch,
        pickle.SETITEM[0]: _checked_setitem,
        pickle.SETITEMS[0]: _checked_setitems,
        pickle.DICT[0]: _checked_dict,
    }

    def find_class(self, module: str, name: str) -> type:
        if (stand_in := _STAND_INS.get(f"{module} {name}")) is None:
            raise _Refused(f"a pickle that asks for {module}.{name}")
        return stand_in


def _check_keys(keys: list[Any]) -> None:
    """Refuses a mapping's keys before they are hashed: of tuples in tuples, that may take longer than one lives."""
    for key in keys:
        if not isinstance(key, str | bytes | int):
            raise _Refused(f"a pickle with a {type(key).__name__} as the key of a mapping")


def _shown(value: Any) -> str:
    """Returns text as a message shows it, and of all else the type: lists in lists may be endless to write."""
    return repr(value[:40]) if isinstance(value, str | bytes) else type(value).__name__


def _inspect(content: bytes) -> None:
    """Reads the instructions without carrying them out, and refuses those that such files do not need."""
    for instruction, argument, _ in pickletools.genops(content):
        if instruction.name == "GLOBAL" and argument not in _STAND_INS:
            raise _Refused(f"a pickle that asks for {str(argument).replace(' ', '.')}")
        if instruction.name not in _ALLOWED:
            raise _Refused(f"a pickle with the instruction {instruction.name}")
        if instruction.name.endswith("PUT") and not 0 <= int(argument or 0) < _MOST_SLOTS:
            raise _Refused(f"a pickle with {argument} memory slots")


def _bytes_array(content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """Returns the uint8 array of this shape that the bytes are."""
    if not isinstance(dtype, _Dtype) or not isinstance(content, bytes | bytearray):
        raise ValueError("an array of something else than bytes")
    return np.frombuffer(content, np.uint8).reshape(tuple(shape), order="F" if order in ("F", b"F") else "C")
