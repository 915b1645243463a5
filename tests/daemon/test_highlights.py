"""Does somebody who wants to see the alerts get a film, or hear why there is none?"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import av
import pytest
from typer.testing import CliRunner

from daemon.cli import app
from daemon.config import load_config
from daemon.control import ControlServer
from daemon.highlights import Keeping, answers_of, keeping
from daemon.mqtt.payloads import event_content
from daemon.store import Limits, Store
from pipelines.types import Event, Outcome
from tests.daemon.events import match
from tests.fakes import FakeClock
from tests.h264 import write_numbered_clip

NOW = 1_700_000_000.0
SINCE = datetime.fromtimestamp(NOW - 3600, UTC).isoformat()
RULES = {"porch": {"dog": True, "cat": False}, "attic": {}}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "s.db", Limits(), FakeClock(wall_time=NOW))
    yield opened
    opened.close()


def tell(store: Store, *events: Event) -> None:
    contents = [event_content(event, 1.0) for event in events]
    assert store.record(Outcome(events[0].camera, None, {}, events, None), contents)


def alert(
    store: Store, number: int, *, rule: str = "dog", clip: str | None = None,
    words: str | None = None, severity: str = "alert",
) -> None:  # fmt: skip
    """An alert; the words and the clip follow it, as in the daemon."""
    first = match(
        10 * number, rule=rule, wall_time=NOW + 60 * number, incident_id=str(number),
        severity=severity,
    )  # fmt: skip
    told = [first]
    if words is not None:
        told.append(
            dataclasses.replace(first, event_id=f"w{number}", event_type="rule_update", text=words)
        )
    if clip is not None:
        told.append(
            dataclasses.replace(
                first, event_id=f"c{number}", event_type="rule_update", media={"clip": clip}
            )
        )
    tell(store, *told)


@contextmanager
def serving(
    store: Store | None,
    folder: Path,
    media: Path | None,
    rules: Mapping[str, Mapping[str, bool]] = RULES,
) -> Iterator[Path]:
    path = folder / "c.sock"
    server = ControlServer(path, answers_of(store, Keeping(media, rules)))
    stop = threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,))
    thread.start()
    until = time.monotonic() + 20
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.01)
    try:
        yield path
    finally:
        stop.set()
        thread.join(20)


def film(path: Path, out: Path, *more: str, camera: str = "porch") -> tuple[int, str]:
    arguments = ["highlights", camera, "--since", SINCE, "--out", str(out), "--socket", str(path)]
    done = CliRunner().invoke(app, [*arguments, *more])
    return done.exit_code, done.output


def test_a_film_of_the_alerts(store: Store, tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    for number in (1, 2):
        write_numbered_clip(media / f"porch-{number}.mp4", frames=10 * number)
        alert(store, number, clip=f"porch-{number}.mp4", words=f"Words {number}.")
    tell(store, match(99, camera="attic", incident_id="x", media={"clip": "porch-1.mp4"}))
    out = tmp_path / "film.mp4"
    with serving(store, tmp_path, media) as path:
        code, said = film(path, out)
    assert code == 0, said
    assert "2 of 2 moments" in said
    assert "as they are" in said
    with av.open(str(out)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 30
    with av.open(str(out)) as container:
        text = b"".join(map(bytes, container.demux(container.streams.subtitles[0]))).decode()
    assert "alert: dog\nWords 1." in text
    assert f"{datetime.fromtimestamp(NOW + 60).astimezone():%Y-%m-%d %H:%M:%S}" in text


def test_the_length_is_bounded(store: Store, tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    for number, severity in ((1, "info"), (2, "alert"), (3, "info")):
        write_numbered_clip(media / f"porch-{number}.mp4", frames=20)
        alert(store, number, clip=f"porch-{number}.mp4", severity=severity)
    out = tmp_path / "film.mp4"
    with serving(store, tmp_path, media) as path:
        code, said = film(path, out, "--max", "4s")
    assert code == 0, said
    assert "1 of 3 moments" in said
    with av.open(str(out)) as container:
        assert "dog" in container.chapters()[0]["metadata"]["title"]
        assert sum(1 for _ in container.decode(video=0)) == 20


def test_why_there_are_no_clips(store: Store, tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    out = tmp_path / "film.mp4"
    with serving(store, tmp_path, media) as path:
        code, said = film(path, out)
        assert code == 1
        assert "porch had no alerts in that time" in said
        alert(store, 1, rule="cat")
        alert(store, 2, clip="porch-gone.mp4")
        alert(store, 3)
        alert(store, 4, rule="old")
        code, said = film(path, out)
    assert code == 1
    assert (
        "1 alert of cat without a clip: add `clip: {before_s: 5, after_s: 5}` to rules.cat" in said
    )
    assert "media: {dir" not in said
    assert "1 clip was deleted since" in said
    assert "1 alert of dog without a clip: it was not made" in said
    assert "1 alert of old without a clip: there is no such rule any more" in said
    assert "there are no clips to make a film of" in said
    assert not out.exists()
    with serving(store, tmp_path, None) as path:
        assert "and `media: {dir:" in film(path, out)[1]


def test_a_clip_that_is_broken_is_left_out(store: Store, tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    write_numbered_clip(media / "porch-1.mp4", frames=10)
    (media / "porch-2.mp4").write_bytes(b"no video")
    for number in (1, 2):
        alert(store, number, clip=f"porch-{number}.mp4")
    with serving(store, tmp_path, media) as path:
        code, said = film(path, tmp_path / "film.mp4")
    assert code == 0, said
    assert "note: porch-2.mp4 cannot be read" in said
    assert "1 of 1 moments" in said


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"camera": "proch"}, "Did you mean porch?"),
        ({"out": "film.avi"}, "call it film.mp4"),
        ({"more": ("--max", "long")}, "no span of time"),
        ({"out": "none/film.mp4"}, "cannot be written: No such file"),
    ],
)
def test_mistakes_are_told(store: Store, tmp_path: Path, change: dict[str, str], says: str) -> None:
    write_numbered_clip(tmp_path / "porch-1.mp4", frames=10)
    alert(store, 1, clip="porch-1.mp4")
    with serving(store, tmp_path, tmp_path) as path:
        code, said = film(
            path, tmp_path / change.get("out", "film.mp4"), *change.get("more", ()),
            camera=change.get("camera", "porch"),
        )  # fmt: skip
    assert (code, says in said) == (1, True), said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_who_may_not_read_the_clips_is_told_what_to_do(store: Store) -> None:
    folder = Path(tempfile.mkdtemp())  # pytest's own is closed to others
    folder.chmod(0o755)
    (folder / "out").mkdir(mode=0o777)
    (folder / "out").chmod(0o777)
    clip = write_numbered_clip(folder / "porch-1.mp4", frames=10)
    clip.chmod(0o600)
    alert(store, 1, clip="porch-1.mp4")
    try:
        with serving(store, folder, folder) as path:
            path.chmod(0o666)
            arguments = ["highlights", "porch", "--since", SINCE, "--socket", str(path),
                         "--out", str(folder / "out" / "f.mp4")]  # fmt: skip
            code = (
                "import os; from daemon.cli import app; import pipelines.film\n"
                f"os.setgroups([]); os.setgid(65534); os.setuid(65534); app({arguments!r})"
            )
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=False
            )
    finally:
        shutil.rmtree(folder)
    assert done.returncode == 1
    assert "cannot be read by this user" in done.stderr


def test_without_a_store(tmp_path: Path) -> None:
    with serving(None, tmp_path, None) as path:
        assert "store.path" in film(path, tmp_path / "film.mp4")[1]


def test_what_the_configuration_says(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "cameras: {porch: {source: scene://porch}, attic: {source: scene://porch}}\n"
        "media: {dir: media}\n"
        "rules:\n"
        "  dog: {ask: 'Is there a dog?', clip: {before_s: 1}, cameras: [porch]}\n"
        "  cat: {ask: 'Is there a cat?'}\n"
    )
    kept = keeping(load_config(path, {}))
    assert kept.rules == {"porch": {"dog": True, "cat": False}, "attic": {"cat": False}}
    assert kept.folder is not None
    assert kept.folder.is_absolute()
