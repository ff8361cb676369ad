"""Errors a user can act on: each is one line that says what, what was received, what is legal, how to mend it."""

import difflib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from numbers import Real

#: how alike (0 to 1, as difflib has it) a legal name must be to what was received to be suggested
CLOSE = 0.6


class InfoplaneError(Exception):
    """Base of every error infoplane raises on purpose.

    Args:
        what: What is wrong, in a few words.
        received: What was received.
        legal: What would have been legal.
        mend: What to do about it.

    `str(error)` is always a single line.
    """

    exit_code = 1

    def __init__(self, what: str, *, received: object = None, legal: object = None, mend: str | None = None) -> None:
        parts = [what]
        if received is not None:
            parts.append(f"received {brief(received) if isinstance(received, int) else received}")
        if legal is not None:
            parts.append(f"legal: {legal}")
        if mend is not None:
            parts.append(mend)
        super().__init__(printable(" ".join("; ".join(parts).split())))


class UsageError(InfoplaneError):
    """The caller's input cannot be used (command line exit code 2)."""

    exit_code = 2


class CallError(UsageError, TypeError):
    """A function was called with arguments that it does not take, or without one that it needs."""


class UnitError(UsageError, ValueError):
    """A number has no such unit."""


class FitError(InfoplaneError):
    """Training went wrong: names the step, the learning rate and the last good value."""


class CellError(InfoplaneError):
    """A part of a study failed; the traceback is kept in the run's folder."""


def plain(value: float) -> str:
    """Returns a number as a message shows it, two digits or more: whole ones as such, 30 and not 3e+01."""
    if 10 <= abs(value) < 1e7:
        return f"{value:,.0f}"
    return f"{value:.2g}"


def in_words(name: str) -> str:
    """Returns a name as a sentence has it: in quotes where it would read as a number, as names of layers may."""
    return repr(name) if name[:1].isdigit() else name


#: what is said of several -> what is said of one
_OF_ONE = {"are": "is", "were": "was", "have": "has", "occur": "occurs", "they": "it", "their": "its", "them": "it"}


def plural(count: int, one: str, many: str | None = None) -> str:
    """Returns "1 image", "1,000 images"."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def agreed(count: int, words: str) -> str:
    """Returns words about so many, as in "are grey: they became RGB", so that they fit to one as well."""
    if count != 1:
        return words
    several = rf"(?<!others )(?<!values )(?<!which )\b({'|'.join(_OF_ONE)})\b"
    return re.sub(several, lambda word: _OF_ONE[word[0]], words)


def spoken_list(parts: Sequence[str]) -> str:
    """Returns "a, b and c"."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))


def spoken_size(size: float) -> str:
    """Returns a number of bytes as one would say it."""
    for unit, many in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= many:
            return f"{size / many:.3g} {unit}"
    return f"{size / 1e3:.0f} kB"


def words(seconds: float) -> str:
    """Returns a time as one would say it."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    if hours < 99.95:
        return f"{hours:.1f} h"
    # Two digits are more than a forecast knows.
    rounded = round(hours, 1 - math.floor(math.log10(hours)))
    return f"{rounded:,.0f} h ({hours / 24:.0f} days)"


def check_positive(what: str, value: object, *, legal: str | None = None) -> float:
    """Returns a value that is a finite number above 0, or raises UsageError."""
    if 0 < (number := as_float(value)) < math.inf:
        return number
    raise UsageError(f"{what} must be a positive number", received=value, legal=legal)


def as_float(value: object) -> float:
    """Returns a real number as a float; NaN, which is within no limits, where it is none or too large for one."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def brief(value: object) -> str:
    """Returns how a message shows a value, in at most 60 letters."""
    try:
        return f"{value!r:.60}"
    except ValueError:  # Python writes out no numbers of many thousands of digits
        return f"a {type(value).__name__} of thousands of digits"


#: what turns the order of the letters that follow it round, so that a name looks like another
_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def check_text(what: str, text: str, *, lines: bool = False) -> str:
    """Returns a text that can be printed and kept, or raises UsageError: see `is_text`.

    Args:
        lines: Whether it may have several lines.
    """
    bad = next((letter for letter in text if not is_text(letter) and not (lines and letter == "\n")), None)
    if bad is not None:
        received, mend = ascii(text if len(text) < 60 else f"{text[:57]}..."), f"take {bad!a} out"
        legal = f"text in Unicode{'' if lines else ' of one line'}"
        raise UsageError(f"{what} holds what is no text", received=received, legal=legal, mend=mend)
    return text


def printable(text: str) -> str:
    """Returns a text with whatever is none written out, as "\\x1b": for names that are not ours to refuse."""
    return text if text.isprintable() else "".join(each if is_text(each) else ascii(each)[1:-1] for each in text)


def is_text(letter: str) -> bool:
    """Whether a letter is one, or a tab.

    Halves of surrogate pairs, as names of files in another encoding leave them, cannot be written to any file; control
    characters (of both sets, C0 and C1) and what turns the direction of writing would be acted on by a terminal; ends
    of lines, of whatever kind, would part a line of a table in two.
    """
    return letter == "\t" or (unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp") and letter not in _TURNS)


def unknown(
    what: str,
    received: str,
    legal: Iterable[str],
    *,
    mend: str | None = None,
    elsewhere: str | None = None,
    error: type[UsageError] = UsageError,
) -> UsageError:
    """Returns the error for a name that is not among the legal ones, with the nearest matches first.

    Args:
        mend: What to do where none is near.
        elsewhere: Where the name is known, which says more than one that is only like it.
        error: What is returned.
    """
    names = list(legal)
    received = received if isinstance(received, str) else brief(received)
    near = difflib.get_close_matches(received, names, n=3, cutoff=CLOSE)
    next_to = [name for name in near if _one_edit(received, name)]
    near = next_to or near
    shown = ", ".join(names[:20]) + (f", … ({len(names)} in all)" if len(names) > 20 else "")
    hint = f"did you mean {' or '.join(repr(name) for name in near)}?" if near else mend
    if elsewhere is not None and not next_to:
        hint = elsewhere
    return error(f"unknown {what}", received=repr(received), legal=shown or "none", mend=hint)


def _one_edit(first: str, second: str) -> bool:
    """Whether one letter more, less or another, or two neighbours exchanged, make one word of the other."""
    short, long = sorted((first, second), key=len)
    start = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    if len(long) - len(short) == 1:
        return short[start:] == long[start + 1 :]
    if len(long) != len(short):
        return False
    exchanged = short[start : start + 2] == long[start : start + 2][::-1] and short[start + 2 :] == long[start + 2 :]
    return exchanged or short[start + 1 :] == long[start + 1 :]


def fits_behind(refits: int, networks: int = 1) -> str:
    """Returns how many fits are behind a number, and of how many networks; nothing where none is."""
    if networks == 1:
        return {0: "", 1: "single fit"}.get(refits, f"{refits} refits")
    return f"{networks} networks" + {0: "", 1: ", one fit each"}.get(refits, f", {refits} refits each")


def in_networks(said: Sequence[Iterable[str]]) -> tuple[str, ...]:
    """Returns what is said in each of several networks, with in how many of them where that is not all."""
    counts = Counter(words for own in said for words in dict.fromkeys(own))
    share = {words: f"in {n} of {len(said)} networks: " if n < len(said) else "" for words, n in counts.items()}
    return tuple(f"{share[words]}{words}" for words in counts)


def headline_of(flag: str) -> str:
    """Returns a flag without its details, which come behind a colon."""
    found = re.match(r"(in \d+ of \d+ networks: )?[^:]*", flag)
    return found[0] if found else flag
