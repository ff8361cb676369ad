"""How the documentation is built: `make docs`, warnings are errors."""

from typing import Any

from pydantic import BaseModel

from infoplane import __version__

project = "infoplane"
author = "The infoplane authors"
project_copyright = "The infoplane authors, MIT licence"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "dev"]
html_theme = "furo"
html_title = f"infoplane {__version__}"
html_show_sourcelink = html_copy_source = False

myst_heading_anchors = 3
# Docstrings put code into single backticks.
default_role = "code"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
# What torch and pydantic say about their own methods is theirs to document.
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 100


def without_signature(_app: Any, _what: str, name: str, thing: Any, *_: Any) -> tuple[str, None] | None:
    """Settings are described by their attributes, which a signature would repeat; a profile comes from `measure`."""
    settings = isinstance(thing, type) and issubclass(thing, BaseModel)
    return ("", None) if settings or name == "infoplane.Profile" else None


def escape(_app: Any, what: str, _name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
    """Docstrings say |z| and CE(x|h), and comments on data say **options: outside code these are no markup."""
    example = False  # which goes on, with what is printed, to the next empty line
    for number, line in enumerate(lines):
        example = bool(line.strip()) and (example or line.lstrip().startswith(">>>"))
        if example:
            continue
        parts = line.split("`")  # every second one is code
        parts[::2] = (part.replace("|", "\\|") for part in parts[::2])
        if what == "data":
            parts[::2] = (part.replace("*", "\\*") for part in parts[::2])
        lines[number] = "`".join(parts)


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", without_signature)
    app.connect("autodoc-process-docstring", escape, priority=900)  # after napoleon
