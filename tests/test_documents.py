"""Whatever the documents point to is there."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: [text](target), ![text](target "title"), [name]: target, and the addresses of HTML tags
LINK = re.compile(r"""\]\(\s*<?([^)\s>]+)[^)]*\)|^\s*\[[^\]]+\]:\s*<?([^\s>]+)|\b(?:src|href)=["']([^"']+)["']""", re.M)
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.I)


def targets(text: str) -> list[str]:
    """Returns the relative targets of a document's links and images, without what is in code."""
    text = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.M | re.S)
    text = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", text)
    found = [next(filter(None, match)) for match in LINK.findall(text)]
    return [target for target in found if not ELSEWHERE.match(target) and not target.startswith("#")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(document):
    for target in targets(document.read_text(encoding="utf-8")):
        path = unquote(target.partition("#")[0].partition("?")[0])
        assert (document.parent / path).exists(), f"{document.relative_to(ROOT)} points to {target}"


def test_links_are_found():
    text = """
[a](one.md) ![b](two.png "title") [c](<three.md#part>) [d](https://x.org/y.md) [e](#here) `[f](code.md)`
<img src="four.png" width=3> [g](mailto:a@b.c)

[h]: five.md

```
[i](fenced.md)
```
"""
    assert targets(text) == ["one.md", "two.png", "three.md#part", "four.png", "five.md"]
