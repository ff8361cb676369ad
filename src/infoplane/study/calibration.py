"""What is known of this machine's speed, and where it is kept: a file in the user's cache, for this machine only."""

import hashlib
import json
import os
import platform
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import torch

from infoplane.data import catalogue
from infoplane.engine.devices import device_name, one_thread
from infoplane.files import read_text, write_whole
from infoplane.measurements.machine import TYPICAL, Machine
from infoplane.study.bench import calibrate
from infoplane.study.meaning import code_of

#: a guess at a GPU: it is told what to do about as fast, and does far more at once
TYPICAL_GPU = replace(
    TYPICAL, per_operation=1e-5, per_flop=5e-14, per_written=4e-12, per_product=5e-14, per_moved=4e-12
)
#: names of files with speeds
_FILES = "machine-*.json"
#: what says in which units work is counted, and what is timed
_UNITS = (
    "infoplane.measurements.counting",
    "infoplane.measurements.cost",
    "infoplane.measurements.machine",
    "infoplane.study.bench",
)
#: kinds of cells whose work is told from these speeds, and what is counted of the first
_TIMED = (
    "infoplane.measurements.fits:Density",
    "infoplane.densities.pixelcnn:PixelCNN",
    "infoplane.measurements.flow:Flow",
)


@dataclass(frozen=True)
class Calibration:
    """A machine's speeds and where they come from.

    Attributes:
        machine: The speeds.
        source: In words.
    """

    machine: Machine
    source: str


def folder() -> Path:
    """Returns the folder in which speeds are kept: that into which data sets are downloaded."""
    return catalogue.cache()


def identity(device: torch.device) -> dict[str, Any]:
    """Returns what speeds depend on: processor, device, and versions."""
    package = resources.files("infoplane")
    digest = hashlib.sha256(code_of(Path(str(package))).meaning(_TIMED).encode())
    for name in _UNITS:
        digest.update(package.joinpath(*name.split(".")[1:-1], f"{name.rpartition('.')[2]}.py").read_bytes())
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "device": device_name(device),
        "infoplane": f"{metadata.version('infoplane')} {digest.hexdigest()[:12]}",
        "torch": metadata.version("torch"),
    }


def keep(device: torch.device, machine: Machine, *, quick: bool) -> Path:
    """Keeps speeds for later; returns the file.

    Raises:
        OSError: It cannot be written.
    """
    path = _path(device)
    path.parent.mkdir(parents=True, exist_ok=True)
    when = time.strftime("%Y-%m-%d %H:%M")
    content = {"machine": identity(device), "measured": when, "quick": quick, "seconds": asdict(machine)}
    write_whole(path, json.dumps(content, indent=1))
    return path


def stored(device: torch.device) -> Calibration | None:
    """Returns what `infoplane bench` found here, or None where it has not run, or on another machine or version.

    A file that cannot be read is as good as none.
    """
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        if not any(folder().glob(_FILES)):
            return None  # without finding out what the file would be called, which takes a second
        content = json.loads(read_text(_path(device)))
        speeds = {field.name: float(content["seconds"][field.name]) for field in fields(Machine)}
        usable = all(0 <= speed < 1 for speed in speeds.values()) and speeds["per_operation"] + speeds["per_flop"] > 0
        if usable and content["machine"] == identity(device):
            quick = " --quick" if content["quick"] else ""
            when = str(content["measured"])[:16]
            return Calibration(Machine(**speeds), f"as infoplane bench{quick} measured this machine, {when}")
    return None


def fresh(device: torch.device) -> Calibration:
    """Returns the speeds that a few small jobs have just now, as a worker process would have them (some seconds)."""
    with one_thread(device.type == "cpu"):
        machine = calibrate(device)
    return Calibration(machine, "from a few small jobs timed just now; infoplane bench measures better, and keeps it")


def typical(device: torch.device | None = None) -> Calibration:
    """Returns speeds that nobody measured here; of a CPU where no device is named."""
    if device is not None and device.type == "cuda":
        return Calibration(TYPICAL_GPU, "a guess: no GPU was timed for it; infoplane bench measures this one")
    return Calibration(TYPICAL, "if this machine is like many; infoplane bench measures it")


def _path(device: torch.device) -> Path:
    digest = hashlib.sha256(json.dumps(identity(device), sort_keys=True).encode())
    return folder() / _FILES.replace("*", digest.hexdigest()[:12])


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
