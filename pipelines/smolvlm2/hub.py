"""How do a published model's files come here, and are they still what came?

Knows the Hugging Face hub, by way of its client, and the layout of its cache, which other programs
share; no tensors. Files are held against the checksums that the hub tells (SHA-256 of the large
ones, git's SHA-1 of the small ones), and against those that were written down at the first pull.
The client's own download starts from nothing after an interruption; this one goes on.
"""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pipelines.errors import ModelError, ModelUnavailable
from pipelines.smolvlm2.files import check_files

FILE_PATTERNS: Final = ("*.json", "*.safetensors")  # data, never code
SPARE_BYTES: Final = 64 << 20  # left free on the disk
_CHUNK: Final = 1 << 20

Progress = Callable[[float], None]  # given the share of a download that is there, 0..1


@dataclass(frozen=True, slots=True)
class Place:
    """One commit of one repository, in the hub's cache."""

    hub_id: str
    revision: str  # 40 hex digits

    @property
    def repository(self) -> Path:
        """The folder of all its commits."""
        from huggingface_hub import constants  # noqa: PLC0415 - half a second, for presets only

        return Path(constants.HF_HUB_CACHE) / f"models--{self.hub_id.replace('/', '--')}"

    @property
    def snapshot(self) -> Path:
        """The model directory."""
        return self.repository / "snapshots" / self.revision

    @property
    def record(self) -> Path:
        """What came at the first pull: sizes and SHA-256 by name."""
        return self.repository / f"smolwatch-{self.revision}.json"


@dataclass(frozen=True, slots=True)
class _Published:
    name: str
    size: int
    algorithm: Literal["sha256", "sha1"]
    checksum: str


def is_here(place: Place) -> bool:
    """Whether all files are there, and as long as they were; their content is `verify`'s."""
    try:
        check_files(place.snapshot)
        return all(
            (place.snapshot / name).stat().st_size == known["size"]
            for name, known in _recorded(place).items()
        )
    except (ModelError, OSError):
        return False


def size_of(place: Place) -> int:
    """Bytes on the disk, those of an unfinished pull included."""
    found = [*place.repository.glob("blobs/*"), *place.snapshot.glob("*")]
    return sum(path.stat().st_size for path in found if path.is_file() and not path.is_symlink())


def verify(place: Place) -> dict[str, str]:
    """File -> what is wrong with it. Raises `ModelError` where there is nothing to hold it against.

    Reads every byte: a minute for the largest model from a slow disk.
    """
    recorded = _recorded(place)
    if not recorded:
        raise ModelError(
            f"{place.hub_id} was not pulled by smolwatch, so there are no checksums of it: run "
            "smolwatch model pull, which checks what is there and fetches only what is wrong"
        )
    wrong = {}
    for name, known in recorded.items():
        path = place.snapshot / name
        if not path.is_file():
            wrong[name] = "is gone"
        elif _digest(path, "sha256") != known["sha256"]:
            wrong[name] = "is not what was pulled: its SHA-256 is another"
    return wrong


def remove(place: Place) -> int:
    """Delete this commit and what only it uses; the bytes that are free now."""
    before = size_of(place)
    kept = {
        path.resolve()
        for snapshot in place.repository.glob("snapshots/*")
        if snapshot != place.snapshot
        for path in snapshot.rglob("*")
    }
    if not kept:
        shutil.rmtree(place.repository, ignore_errors=True)
        return before
    shutil.rmtree(place.snapshot, ignore_errors=True)
    place.record.unlink(missing_ok=True)
    for blob in place.repository.glob("blobs/*"):
        if blob.resolve() not in kept:
            blob.unlink()
    return before - size_of(place)


def pull(place: Place, progress: Progress) -> Path:
    """Fetch what is missing or wrong, and check it; the model directory.

    Raises `ModelError`, `ModelUnavailable` where a later try may do better.
    """
    from huggingface_hub import constants  # noqa: PLC0415
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # noqa: PLC0415
    from huggingface_hub.utils import logging as hub_logging  # noqa: PLC0415

    if constants.HF_HUB_OFFLINE:
        raise ModelUnavailable("HF_HUB_OFFLINE is set, so nothing is fetched here")
    # A hub that is away costs a line for each of its five retries; the error says it once.
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        return _pull(place, progress)
    except (HTTPError, OSError) as error:
        raise _explained(place, error) from error


def _pull(place: Place, progress: Progress) -> Path:
    files = _published(place)
    _compare(place, files)
    meter = _Meter(sum(file.size for file in files), progress)
    blobs = place.repository / "blobs"
    missing = [file for file in files if not _is_sound(blobs / file.checksum, file)]
    meter.add(sum(file.size for file in files if file not in missing))
    blobs.mkdir(parents=True, exist_ok=True)
    _check_space(blobs, missing)
    for file in missing:
        _fetch(place, file, blobs / file.checksum, meter)
    place.snapshot.mkdir(parents=True, exist_ok=True)
    record = {}
    for file in files:
        path = place.snapshot / file.name
        path.unlink(missing_ok=True)
        path.symlink_to(os.path.relpath(blobs / file.checksum, path.parent))
        record[file.name] = {"size": file.size, "sha256": _digest(path, "sha256")}
    check_files(place.snapshot)
    place.record.write_text(json.dumps({"files": record}, indent=2) + "\n", encoding="utf-8")
    return place.snapshot


def _published(place: Place) -> list[_Published]:
    from huggingface_hub import HfApi  # noqa: PLC0415

    info = HfApi().model_info(place.hub_id, revision=place.revision, files_metadata=True)
    if info.sha != place.revision:
        raise ModelError(f"{place.hub_id}: the hub gave commit {info.sha}, not {place.revision}")
    files = []
    for sibling in info.siblings or ():
        name = sibling.rfilename
        if "/" in name or not any(fnmatch.fnmatch(name, pattern) for pattern in FILE_PATTERNS):
            continue
        if sibling.lfs is not None:
            files.append(_Published(name, sibling.lfs.size, "sha256", sibling.lfs.sha256))
        elif sibling.size is not None and sibling.blob_id is not None:
            files.append(_Published(name, sibling.size, "sha1", sibling.blob_id))
    return files


def _compare(place: Place, files: list[_Published]) -> None:
    """Hold what the hub tells now against what came at the first pull."""
    recorded = _recorded(place)
    for file in files:
        known = recorded.get(file.name)
        if known is None:
            continue
        changed = file.algorithm == "sha256" and known["sha256"] != file.checksum
        if changed or known["size"] != file.size:
            raise ModelError(
                f"{place.hub_id}: the hub's {file.name} is not the one that was pulled first, "
                "though the commit is the same. Do not use it; smolwatch model rm forgets the "
                "first one"
            )


def _fetch(place: Place, file: _Published, blob: Path, meter: _Meter) -> None:
    """Go on with a file where an earlier pull ended, and check it."""
    from huggingface_hub import hf_hub_url  # noqa: PLC0415
    from huggingface_hub.file_download import http_get  # noqa: PLC0415
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined] # noqa: PLC0415

    part = blob.with_name(f"{blob.name}.part")
    if part.exists() and part.stat().st_size > file.size:
        part.unlink()
    url = hf_hub_url(place.hub_id, file.name, revision=place.revision)
    with part.open("ab") as out:
        there = out.tell()
        meter.add(there)
        http_get(
            url, out, resume_size=there, headers=build_hf_headers(), expected_size=file.size,
            tqdm_class=meter.bar,  # type: ignore[arg-type] # what the client uses of one
        )  # fmt: skip
    if not _is_sound(part, file):
        part.unlink()
        raise ModelError(
            f"{place.hub_id}: {file.name} did not arrive as the hub has it (checksum), and was "
            "deleted. Pull again; if that is of no use, something on the way changes it"
        )
    part.replace(blob)


def _check_space(folder: Path, missing: list[_Published]) -> None:
    there = sum(part.stat().st_size for part in folder.glob("*.part"))
    needed = sum(file.size for file in missing) - there
    free = shutil.disk_usage(folder).free - SPARE_BYTES
    if missing and needed > free:
        raise ModelUnavailable(
            f"{folder}: the model needs {needed / 1e6:.0f} MB more, and only "
            f"{max(0, free) / 1e6:.0f} MB can be used: free disk space, or set HF_HOME to a "
            "folder on a larger disk"
        )


def _is_sound(path: Path, file: _Published) -> bool:
    return (
        path.is_file()
        and path.stat().st_size == file.size
        and _digest(path, file.algorithm) == file.checksum
    )


def _digest(path: Path, algorithm: Literal["sha256", "sha1"]) -> str:
    """A file's checksum; `sha1`: as git names a blob, with its length before it."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    if algorithm == "sha1":
        digest.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _recorded(place: Place) -> Mapping[str, Mapping[str, Any]]:
    try:
        found: dict[str, dict[str, Any]] = json.loads(place.record.read_text("utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        return {}
    return found


def _explained(place: Place, error: Exception) -> ModelError:
    """What happened, and what to do about it."""
    code = getattr(getattr(error, "response", None), "status_code", None)
    where = f"https://huggingface.co/{place.hub_id}"
    if code in (401, 403):
        return ModelError(
            f"{place.hub_id}: the hub refuses ({code}): it wants a login. Agree to its terms at "
            f"{where}, and set HF_TOKEN to a token that may read it"
        )
    if code == 404:
        return ModelError(f"{place.hub_id}: the hub has no commit {place.revision} of it (404)")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ModelUnavailable(f"{place.repository}: the disk is full: free some space")
    if isinstance(error, PermissionError):
        return ModelError(f"{error.filename}: {error.strerror}: set HF_HOME to a folder of yours")
    reason = str(error).strip().split("\n", maxsplit=1)[0]
    return ModelUnavailable(
        f"{place.hub_id}: the hub cannot be reached, or broke off ({type(error).__name__}: "
        f"{reason}). What has come is kept: the next pull goes on from there"
    )


class _Meter:
    """Adds up what has come of all files. `bar` is used by the client like a progress bar."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._total, self._there, self._progress = total, 0, progress

    def add(self, num_bytes: int) -> None:
        self._there += num_bytes
        self._progress(min(1.0, self._there / self._total) if self._total else 1.0)

    def bar(self, **_: object) -> _Meter:
        return self

    def update(self, num_bytes: int) -> None:
        self.add(num_bytes)

    def __enter__(self) -> _Meter:
        return self

    def __exit__(self, *_: object) -> None:
        return None
