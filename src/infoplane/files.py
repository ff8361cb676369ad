"""Files that are there whole or not at all."""

import os
import uuid
from pathlib import Path

#: how the names of half-written files begin
TEMPORARY = ".tmp-"
#: how often a file is written whose temporary name was swept away meanwhile
_ATTEMPTS = 5


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file whole or not at all, whoever else writes it at the same time: the last one's stays."""
    for attempt in range(_ATTEMPTS):
        # Not `mkstemp`, whose files nobody else may read.
        temporary = path.with_name(f"{TEMPORARY}{path.name}-{uuid.uuid4().hex[:12]}")
        try:
            with temporary.open("xb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
            try:
                os.replace(temporary, path)
            except FileNotFoundError:
                if attempt == _ATTEMPTS - 1:
                    raise
                continue  # a report that was begun meanwhile took it for what a killed one had left
            return
        finally:
            temporary.unlink(missing_ok=True)
