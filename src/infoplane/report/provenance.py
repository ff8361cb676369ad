"""How a run came about, and what of it is missing: what every page tells, whatever was measured."""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infoplane.engine.watch import EVENTS_FILE
from infoplane.files import read_text
from infoplane.measurements.numbers import INPUT
from infoplane.study.results import RunResults


def provenance(results: RunResults, stages: Mapping[str, str]) -> dict[str, Any]:
    """Returns the fields that any page's contents share, see `PageContents`.

    Args:
        stages: Kind of cell -> what the reader calls it; where it is not named, its own name is.
    """
    spec, folder = results.spec, results.store.folder.parent
    events = list(_events(folder))
    begun = next((event for event in reversed(events) if event["event"] == "begin"), {})
    totals = [event for event in events if event["event"] == "run"]
    last = next((event["event"] for event in reversed(events) if event["event"] in ("begin", "run")), "")
    hide = Hider(folder)
    return {
        "title": spec.title,
        "note": None if spec.note is None else hide(spec.note),
        "numbers": results.numbers,
        "truth": results.once("truths"),
        "tests": results.tests,
        "tests_before": results.tests_before,
        "settings": hide(spec.to_yaml()),
        "versions": begun.get("versions", {}),
        "times": _times(events, stages),
        "machine": hide(begun.get("machine", "")),
        "total_seconds": _total(events) or None,
        "peak_memory_mb": max((event["peak_mb"] for event in totals), default=None),
        "failures": [(name, *map(hide, failure)) for name, failure in results.failures().items()],
        "missing": list(_missing(results, stages)),
        "parts": len(results.plan.cells),
        "going": last == "begin",
    }


class Hider:
    """Takes the way to files out of a text, for pages are sent to others: only the names of the files stay.

    Args:
        folder: Of the run.
    """

    #: of a path in quotes, which may hold spaces, and of one without: everything before the last name
    QUOTED = re.compile(r"""(?<=["'])(?:file://)?(?:/|[A-Za-z]:[\\/])(?:[^"'\n\\/]*[\\/])*(?=[^"'\n\\/]*["'])""")
    BARE = re.compile(r"(?<![\w.~/:)…\\-])(?:file://)?(?:/|[A-Za-z]:[\\/])(?:[\w.@+~%-]+[\\/])*(?=[\w.@+~%-]{2})")

    def __init__(self, folder: Path) -> None:
        known = {str(path) for path in (folder.resolve(), folder.absolute(), Path.cwd(), Path.home())}
        # The longest before those in which it lies.
        self._known = sorted((path for path in known if len(path) > 1), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Returns the text, each absolute path in it shortened to "…/name"."""
        for path in self._known:
            text = re.sub(rf"{re.escape(path)}(?=[\\/])", "/_", text)  # they may hold spaces
        return self.BARE.sub("…/", self.QUOTED.sub("…/", text))


def _missing(results: RunResults, stages: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yields what was planned and is neither whole nor failed, in words, and why as far as that is known."""
    damaged, unfinished = set(results.damaged()), results.unfinished()
    points = {role[3] for role in results.plan.roles if role[3]}
    for (kind, layer, refit, checkpoint, *_), name in results.plan.roles.items():
        if name not in unfinished:
            continue
        # The twin's parts are filed under names that begin with that of the input.
        what = layer.replace(INPUT, "p(x)", 1) if re.split("[ :]", layer)[0] == INPUT else layer
        words = stages.get(kind, kind) + (f" of {what}" if layer else "")
        at = f" at checkpoint {checkpoint}" if checkpoint and len(points) > 1 else ""
        again = f", refit {refit}" if refit else ""
        stuck = "needs a part that failed" if unfinished[name] else "not computed yet"
        yield f"{words}{at}{again}", "damaged" if name in damaged else stuck


def _events(folder: Path) -> Iterator[dict[str, Any]]:
    path = folder / EVENTS_FILE
    if not path.is_file():
        return
    for line in read_text(path, errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # damaged, or the last line of a run that was cut off
        if isinstance(event, dict) and _is_whole(event):
            yield event


#: kind of event -> what the report reads of it
_FIELDS: dict[str, dict[str, Any]] = {
    "begin": {"machine": str, "versions": dict},
    "start": {"cell": str},
    "progress": {"cell": str},
    "failed": {"cell": str},
    "done": {"cell": str, "seconds": int | float},
    "run": {"seconds": int | float, "peak_mb": int | float},
}


def _is_whole(event: dict[str, Any]) -> bool:
    """Whether an event that can be read is one that was written."""
    fields = _FIELDS.get(str(event.get("event")), {})
    values = [event.get(key) for key in fields]
    sound = all(isinstance(value, kind) for value, kind in zip(values, fields.values(), strict=True))
    return bool(fields) and sound and all(math.isfinite(value) for value in values if isinstance(value, int | float))


def _total(events: list[dict[str, Any]]) -> float:
    """Seconds that all calls took: one that was interrupted, killed or goes on, until it was last heard of."""
    total, leg, begun = 0.0, 0.0, 0.0
    for event in events:
        if event["event"] == "begin":
            total, leg, begun = total + leg, 0.0, _number(event, "time", 0.0)
        if event["event"] == "run":
            total, leg = total + event["seconds"], 0.0
        else:
            # Runs of earlier versions have the time of day only, which may go back.
            leg = max(leg, _number(event, "elapsed", _number(event, "time", begun) - begun))
    return total + leg


def _number(event: dict[str, Any], key: str, default: float) -> float:
    """A number in an event, or the default where there is none."""
    value = event.get(key)
    return value if isinstance(value, int | float) and math.isfinite(value) else default


def _times(events: list[dict[str, Any]], stages: Mapping[str, str]) -> list[tuple[str, float]]:
    """Seconds by kind of cell, summed over the worker processes."""
    sums: dict[str, float] = defaultdict(float)
    for event in events:
        if event["event"] == "done":
            sums[event["cell"].partition("-")[0]] += event["seconds"]
    return [(stages.get(kind, kind), seconds) for kind, seconds in sums.items()]
