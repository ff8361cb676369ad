"""The `infoplane` command: one short file per verb, each imported only when it is called."""

import sys
from collections.abc import Sequence
from typing import Any

#: exit code of a command that was interrupted, as shells have it
INTERRUPTED = 130
#: options that take several values
SEVERAL = ("--layers", "--checkpoints", "--options")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; errors of use are one line on standard error and exit code 2."""
    # Imported here: `import infoplane` needs neither.
    import typer

    from infoplane.cli.app import app
    from infoplane.errors import InfoplaneError

    # click's own error of use, from whichever click this typer has: some versions bring their own copy.
    misuse: Any = typer.BadParameter.mro()[1]
    words = spread(list(sys.argv[1:] if arguments is None else arguments), SEVERAL) or ["--help"]
    try:
        code = app(words, standalone_mode=False)
    except InfoplaneError as error:
        print(f"infoplane: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except misuse as error:
        hint = " ".join(error.format_message().split()).rstrip(".")
        print(f"infoplane: {hint}; see {_verb(error)} --help", file=sys.stderr)
        sys.exit(2)
    if code == INTERRUPTED:  # typer itself turns most interrupts into this
        print("infoplane: interrupted; what was stored is kept, run the same command again", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


def _verb(error: Any) -> str:
    """The command whose help a misuse is about."""
    context = getattr(error, "ctx", None)
    return "infoplane" if context is None or context.parent is None else f"infoplane {context.info_name}"


def spread(words: list[str], options: Sequence[str]) -> list[str]:
    """Turns `--layers a b` into `--layers a --layers b`, which is how click takes several values."""
    spread_words: list[str] = []
    inside: str | None = None
    for word in words:
        if word in options:
            inside = word
            continue
        inside = None if word.startswith("-") else inside
        spread_words += [word] if inside is None else [inside, word]
    return spread_words
