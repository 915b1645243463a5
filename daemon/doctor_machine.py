"""Is the machine fit: versions, processor and GPUs, devices, clock, disks?

Knows no camera, no broker and no model. What it reads of /proc, /sys and /dev lies under `root`.
"""

from __future__ import annotations

import ctypes
import grp
import importlib.metadata
import os
import platform
import pwd
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import daemon
import pipelines
from daemon.disk_trouble import BROKEN
from daemon.findings import Finding
from daemon.media_files import LEAVE_BYTES

_TIME_ERROR: Final = 5  # adjtimex(2): the clock is not synchronised
_TIMEX_BYTES: Final = 512  # struct timex has 208; modes, its first field, 0 reads only
_OLDEST_YEAR: Final = 2026  # before it the clock was never set
_SHOWN: Final = ("torch", "transformers", "av", "opencv-python-headless", "paho-mqtt", "openvino")
_DEVICES: Final = {"video*": "video", "dri/renderD*": "render"}


@dataclass(frozen=True, slots=True)
class Place:
    """A folder that is written to, and how much more may come there; 0: little."""

    what: str  # the configuration's key
    folder: Path
    max_bytes: int = 0
    used_bytes: int = 0


def versions() -> Iterator[Finding]:
    """What is installed, and whether `daemon` is really ours."""
    found = []
    for name in _SHOWN:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    python = platform.python_version()
    text = f"smolwatch {daemon.__version__}, Python {python}, {', '.join(found)}"
    yield Finding("ok", "versions", text)
    yield packages(Path(daemon.__file__), Path(pipelines.__file__), _owners())


def packages(ours: Path, beside: Path, owners: list[str]) -> Finding:
    """Whether both packages come from one place, and nobody else owns `daemon`."""
    strangers = sorted(set(owners) - {"smolwatch"})
    if strangers or ours.parents[1] != beside.parents[1]:
        by = f", which {' and '.join(strangers)} installs, too" if strangers else ""
        return Finding(
            "fail", "package", f"`daemon` is {ours.parent}, `pipelines` is {beside.parent}{by}",
            "install smolwatch into a virtual environment of its own (python-daemon has a package "
            "of the same name)",
        )  # fmt: skip
    return Finding("ok", "package", f"daemon and pipelines in {ours.parents[1]}")


def _owners() -> list[str]:
    return importlib.metadata.packages_distributions().get("daemon", [])


def processor(root: Path = Path("/")) -> Iterator[Finding]:
    """Cores and what they can multiply. 32-bit systems have no PyTorch at all."""
    told = _read(root / "proc/cpuinfo")
    flags = set(re.findall(r"^(?:flags|Features)\s*:(.*)$", told, re.MULTILINE)[:1])
    words = set(" ".join(flags).split())
    cores = len(os.sched_getaffinity(0))
    fast = sorted(words & {"avx2", "avx512f", "avx512_bf16", "amx_bf16", "bf16", "asimddp", "i8mm"})
    text = f"{platform.machine()}, {cores} cores, {', '.join(fast) or 'no fast instructions'}"
    if platform.machine() == "x86_64" and "avx2" not in words:
        yield Finding(
            "warn", "processor", text, "without AVX2 the model is many times slower: in a virtual "
            "machine choose the CPU type `host`, else another machine",
        )  # fmt: skip
    else:
        yield Finding("ok", "processor", text)


def gpus(root: Path = Path("/")) -> Iterator[Finding]:
    """Which GPUs there are, and whether the engines can use them."""
    yield from _nvidia(root)
    yield from _intel(root)


def _nvidia(root: Path) -> Iterator[Finding]:
    import torch  # noqa: PLC0415 - takes seconds

    driver = re.search(r"Module\s+([\d.]+)", _read(root / "proc/driver/nvidia/version"))
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
        built = torch.version.cuda
        text = f"{', '.join(names)}, driver {driver[1] if driver else '?'}, CUDA {built}"
        yield Finding("ok", "nvidia", text)
    elif driver is not None and torch.version.cuda is None:
        yield Finding(
            "warn", "nvidia", f"a GPU (driver {driver[1]}), and this PyTorch is a CPU build",
            "install PyTorch with CUDA into smolwatch's environment: see docs/install.md",
        )  # fmt: skip
    elif driver is not None:
        yield Finding(
            "fail", "nvidia", f"PyTorch (CUDA {torch.version.cuda}) cannot use driver {driver[1]}",
            "restart after a driver update; else update the driver; a container needs --gpus all",
        )  # fmt: skip


def _intel(root: Path) -> Iterator[Finding]:
    for node in sorted((root / "sys/class/drm").glob("renderD*")):
        if _read(node / "device/vendor").strip() != "0x8086":
            continue
        device = root / "dev/dri" / node.name
        if find_spec("openvino") is None:
            fix = "pip install 'smolwatch[openvino]' into smolwatch's environment, to try it"
            yield Finding(
                "ok", "intel", f"a GPU ({device.name}), and no OpenVINO: not used ({fix})"
            )
        elif not os.access(device, os.R_OK | os.W_OK):
            yield Finding(
                "warn", "intel", f"{device}: {_user()} may not use it",
                f"sudo usermod -aG render {_user()} (the service has that group)",
            )  # fmt: skip
        elif not any(name.startswith("GPU") for name in _openvino_devices()):
            yield Finding(
                "warn", "intel", f"a GPU ({device.name}) that OpenVINO does not see",
                "install its compute driver: apt install intel-opencl-icd",
            )  # fmt: skip
        else:
            yield Finding("ok", "intel", f"{device.name}, OpenVINO sees it")


def _openvino_devices() -> list[str]:
    import openvino  # noqa: PLC0415 - not everybody has it

    return [str(name) for name in openvino.Core().available_devices]


def devices(root: Path = Path("/")) -> Iterator[Finding]:
    """Whether this user may use cameras and GPUs that are plugged in."""
    seen = usable = 0
    for pattern, group in _DEVICES.items():
        for node in sorted((root / "dev").glob(pattern)):
            seen += 1
            if os.access(node, os.R_OK | os.W_OK):
                usable += 1
                continue
            yield Finding(
                "warn", "devices", f"{node}: {_user()} may not use it",
                f"sudo usermod -aG {_group_of(node) or group} {_user()}, and log in again (the "
                "service has the groups video and render)",
            )  # fmt: skip
    if seen == usable:
        yield Finding(
            "ok", "devices", f"{seen} of cameras and GPUs, all usable" if seen else "none"
        )


def clock(now: float, state: int | None) -> Finding:
    """`now`: Unix seconds; `state`: what adjtimex(2) returns, None where it is not known.

    Rules with times of day, and the age of what is stored, go by this clock.
    """
    year = 1970 + now / 31_556_952
    fix = "sudo timedatectl set-ntp true, or install chrony"
    if year < _OLDEST_YEAR:
        return Finding("fail", "clock", f"it says {year:.0f}: it was never set", fix)
    if state == _TIME_ERROR:
        return Finding("warn", "clock", "not synchronised: times of events may be wrong", fix)
    return Finding(
        "ok", "clock", "not known whether synchronised" if state is None else "synchronised"
    )


def clock_state() -> int | None:
    """What adjtimex(2) returns; None where it may not be asked."""
    try:
        answer = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
    except (OSError, AttributeError):
        return None
    return None if answer < 0 else answer


def disk(place: Place, mounts: str) -> Iterator[Finding]:
    """Whether there is a place, room in it, and a disk that lasts. `mounts`: of /proc/mounts."""
    what, folder = place.what, place.folder
    there = _nearest(folder)
    if os.statvfs(there).f_flag & os.ST_RDONLY or _has_failed(there, mounts):
        yield Finding(
            "fail", what, f"{folder}: the file system is read-only",
            BROKEN,
        )  # fmt: skip
        return
    if not os.access(there, os.W_OK | os.X_OK):
        owner = _owner(there)
        yield Finding(
            "fail" if owner != "smolwatch" else "warn", what,
            f"{there}: {_user()} may not write there", f"it belongs to {owner}: run this as "
            f"`sudo -u {owner}`, or make it writable for the user that smolwatch runs as",
        )  # fmt: skip
        return
    free = shutil.disk_usage(there).free
    more = max(0, place.max_bytes - place.used_bytes)
    text = f"{folder}: {_size(free)} free, and at most {_size(more)} more will be used"
    if free < LEAVE_BYTES:
        yield Finding(
            "fail", what, f"{text}: pictures are not kept any more",
            f"free disk space, or lower {what}.max_bytes",
        )  # fmt: skip
    elif free - more < LEAVE_BYTES:
        yield Finding("warn", what, text, f"lower {what}.max_bytes, or free disk space")
    else:
        yield Finding("ok", what, text)
    device = device_of(there, mounts)
    if device.startswith("/dev/mmcblk"):
        yield Finding(
            "warn", what, f"{folder} is on an SD card or eMMC ({device})",
            "cards wear out by writing: put store.path and media.dir on an SSD if there is one",
        )  # fmt: skip


def device_of(path: Path, mounts: str) -> str:
    """The device that `path` is on, of the text of /proc/mounts; empty if it is not told."""
    return _mount_of(path, mounts)[0]


def _has_failed(path: Path, mounts: str) -> bool:
    """Whether ext4 found an error: since Linux 6.15 it says so here alone, and is not read-only."""
    return "emergency_ro" in _mount_of(path, mounts)[1].split(",")


def _mount_of(path: Path, mounts: str) -> tuple[str, str]:
    """Device and options of the innermost mount."""
    best, found = -1, ("", "")
    for line in mounts.splitlines():
        device, point, _, options, *_ = [*line.split(), "", "", "", ""]
        point = point.replace("\\040", " ")
        if path.is_relative_to(point) and len(point) >= best:
            best, found = len(point), (device, options)
    return found


def _nearest(folder: Path) -> Path:
    """`folder`, or of those above it the first that is there."""
    absolute = folder.absolute()
    return next(path for path in (absolute, *absolute.parents) if path.exists())


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.0f} MB"


def _user() -> str:
    return _name_of(os.geteuid())


def _owner(path: Path) -> str:
    return _name_of(path.stat().st_uid)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_of(path: Path) -> str | None:
    try:
        return grp.getgrgid(path.stat().st_gid).gr_name
    except (OSError, KeyError):
        return None
