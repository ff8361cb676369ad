"""The `infoplane` command: one short file per verb, each imported only when it is called."""

import io
import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

#: exit code of a command that was interrupted, as shells have it
INTERRUPTED = 130
#: exit code of a command that ended over what infoplane did not foresee
UNFORESEEN = 70
#: options that take several values
SEVERAL = ("--layers", "--checkpoints", "--options", "--kinds", "--read-as")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; errors of use are one line on standard error and exit code 2."""
    # Imported here: `import infoplane` needs neither.
    import typer

    from infoplane.cli.app import app
    from infoplane.errors import InfoplaneError

    # click's own error of use, from whichever click this typer has: some versions bring their own copy.
    misuse: Any = typer.BadParameter.mro()[1]
    for stream in (sys.stdout, sys.stderr):
        # What a terminal cannot show is shown otherwise: a result is not lost over a letter.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(spread(given, SEVERAL) or ["--help"], standalone_mode=False)
    except InfoplaneError as error:
        print(f"infoplane: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except misuse as error:
        hint = " ".join(error.format_message().split()).rstrip(".")
        print(f"infoplane: {hint}; see {_verb(error)} --help", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        print(f"infoplane: {unforeseen(error)}", file=sys.stderr)
        sys.exit(UNFORESEEN)
    if code == INTERRUPTED:  # typer itself turns most interrupts into this
        print("infoplane: interrupted; what was stored is kept, run the same command again", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


def unforeseen(error: BaseException) -> str:
    """Returns one line about an error that nothing else caught, whose traceback is kept in a file."""
    import tempfile
    import traceback

    reason = " ".join(f"{type(error).__name__}: {error}".rstrip(": ").split())
    reason = reason if len(reason) < 200 else f"{reason[:197]}..."
    hints = {MemoryError: "it needs more memory than there is", RecursionError: "something is nested too deeply"}
    hint = next((f" ({words})" for kind, words in hints.items() if isinstance(error, kind)), "")
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="infoplane-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write("".join(traceback.format_exception(error)))
    except OSError:
        return f"stopped by {reason}{hint}; its traceback cannot be kept, since no file can be written"
    return f"stopped by {reason}{hint}; what was stored is kept; the traceback is in {file.name}"


def print_rows(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Prints rows in columns, some of them flush right; what cannot be printed is written out."""
    from infoplane.errors import printable

    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        sized = enumerate(zip(row, widths, strict=True))
        cells = (cell.rjust(width) if column in right else cell.ljust(width) for column, (cell, width) in sized)
        print(printable("  ".join(cells).rstrip()))


def _verb(error: Any) -> str:
    """The command whose help a misuse is about."""
    context = getattr(error, "ctx", None)
    return "infoplane" if context is None or context.parent is None else f"infoplane {context.info_name}"


def spread(words: list[str], options: Sequence[str]) -> list[str]:
    """Turns `--layers a b` into `--layers a --layers b`, which is how click takes several values.

    Raises:
        UsageError: One of the options has none.
    """
    from infoplane.errors import UsageError

    spread_words: list[str] = []
    inside: str | None = None
    for word, following in pairwise([*words, "-"]):
        if word in options:
            if following.startswith("-"):
                raise UsageError(
                    f"{word} without a value", legal="one value or more", mend="give one, or leave the option out"
                )
            inside = word
            continue
        inside = None if word.startswith("-") else inside
        spread_words += [word] if inside is None else [inside, word]
    return spread_words
