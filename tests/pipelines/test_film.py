"""Do clips become one film that plays from its beginning to its end, with its captions?"""

from __future__ import annotations

import struct
from pathlib import Path

import av
import pytest

from pipelines.film import GAP_S, FilmError, Scene, read_clip, write_film
from pipelines.highlights import Moment, chosen, joined
from tests.h264 import read_number, write_numbered_clip


def scene(path: Path, words: str = "A person.") -> Scene:
    return Scene(read_clip(path), f"title of {path.stem}", f"12:00 {path.stem}\n{words}")


def pictures(path: Path) -> list[tuple[float, int]]:
    """Second and number of each picture."""
    with av.open(str(path)) as container:
        return [
            (float(frame.time or 0.0), read_number(frame.to_ndarray(format="rgb24")))
            for frame in container.decode(video=0)
        ]


def captions(path: Path) -> list[tuple[float, float, str]]:
    with av.open(str(path)) as container:
        track = container.streams.subtitles[0]
        assert track.codec_context.name == "mov_text"
        found = []
        for packet in container.demux(track):
            body = bytes(packet)
            if len(body) > 2 and packet.pts is not None:
                length = struct.unpack(">H", body[:2])[0]
                scale = float(packet.time_base or 0)
                end = (packet.pts + (packet.duration or 0)) * scale
                found.append((packet.pts * scale, end, body[2 : 2 + length].decode()))
        return found


def chapters(path: Path) -> list[tuple[float, float, str]]:
    with av.open(str(path)) as container:
        return [
            (one["start"] * float(one["time_base"]), one["end"] * float(one["time_base"]),
             one["metadata"]["title"])
            for one in container.chapters()
        ]  # fmt: skip


def test_equal_clips_are_joined_as_they_are(tmp_path: Path) -> None:
    first = write_numbered_clip(tmp_path / "first.mp4", frames=20)
    second = write_numbered_clip(tmp_path / "second.mp4", frames=30)
    out = tmp_path / "film.mp4"
    told: list[str] = []
    scenes = [scene(first), scene(second, "Ein Hund läuft vorbei."), scene(first)]
    assert write_film(scenes, out, lambda one: told.append(one.title))
    assert told == ["title of first", "title of second", "title of first"]
    found = pictures(out)
    assert [number for _, number in found] == [*range(20), *range(30), *range(20)]
    times = [second for second, _ in found]
    assert times == sorted(times)
    assert times[20] == pytest.approx(2.0 + GAP_S, abs=0.02)
    assert times[50] == pytest.approx(5.0 + 2 * GAP_S, abs=0.02)
    with av.open(str(first)) as a, av.open(str(out)) as b:
        assert bytes(next(a.demux(video=0))) == bytes(next(b.demux(video=0)))  # not encoded anew
    said = captions(out)
    assert [text for _, _, text in said][1] == "12:00 second\nEin Hund läuft vorbei."
    assert [round(start, 1) for start, _, _ in said] == [0.0, 2.5, 6.0]
    assert said[0][1] == pytest.approx(2.0, abs=0.05)  # and nothing in the gap
    assert [(round(a, 1), round(b, 1), title) for a, b, title in chapters(out)] == [
        (0.0, 2.5, "title of first"),
        (2.5, 6.0, "title of second"),
        (6.0, 8.5, "title of first"),
    ]
    assert out.read_bytes().index(b"moov") < out.read_bytes().index(b"mdat")
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_clips_that_differ_are_encoded_anew(tmp_path: Path, codec: str) -> None:
    first = write_numbered_clip(tmp_path / "first.mp4", frames=20, size_px=(320, 240))
    second = write_numbered_clip(
        tmp_path / "second.mp4",
        frames=20,
        size_px=(480, 240),
        codec=codec,  # type: ignore[arg-type]
    )
    out = tmp_path / "film.mp4"
    assert not write_film([scene(first), scene(second)], out)
    with av.open(str(out)) as container:
        video = container.streams.video[0]
        assert (video.codec_context.name, video.width, video.height) == ("h264", 320, 240)
        assert video.codec_context.pix_fmt == "yuv420p"
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 40
    assert read_number(frames[19]) == 19
    wide = frames[-1]
    assert wide[:20].max() < 40  # black above: 480x240 in 320x240 is 320x160
    assert read_number(wide[40:200]) == 19
    assert [round(start, 1) for start, _, _ in captions(out)] == [0.0, 2.5]


def test_equal_h265_is_encoded_anew_for_browsers(tmp_path: Path) -> None:
    clip = write_numbered_clip(tmp_path / "clip.mp4", frames=10, codec="hevc")
    out = tmp_path / "film.mp4"
    assert not write_film([scene(clip)], out)
    with av.open(str(out)) as container:
        assert container.streams.video[0].codec_context.name == "h264"


def test_what_is_no_clip_is_named(tmp_path: Path) -> None:
    (tmp_path / "no.mp4").write_bytes(b"this is no video" * 100)
    with pytest.raises(FilmError, match=r"no\.mp4"):
        read_clip(tmp_path / "no.mp4")
    with pytest.raises(FileNotFoundError):
        read_clip(tmp_path / "gone.mp4")


def test_a_film_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    clip = write_numbered_clip(tmp_path / "clip.mp4", frames=10)
    good = scene(clip)
    with pytest.raises(FilmError, match=r"film\.mp4 cannot be written: No such file"):
        write_film([good], tmp_path / "none" / "film.mp4")
    out = tmp_path / "film.mp4"
    out.write_bytes(b"an older film")
    cut = write_numbered_clip(tmp_path / "cut.mp4", frames=10)
    bad = scene(cut)
    cut.unlink()
    with pytest.raises(FilmError, match=r"film\.mp4 cannot be written: No such file"):
        write_film([good, bad], out)
    assert out.read_bytes() == b"an older film"
    assert not list(tmp_path.glob("*.part"))


# Which moments


def moment(at: float, severity: str = "alert", score: float = 0.9, lasts_s: float = 20.0,
           rule: str = "dog") -> Moment:  # fmt: skip
    return Moment(f"{at}.mp4", at, (rule,), severity, score, None, lasts_s)  # type: ignore[arg-type]


def test_all_are_shown_where_there_is_time_oldest_first() -> None:
    many = [moment(200), moment(100, "info")]
    assert chosen(many, 60.0, GAP_S) == [many[1], many[0]]


def test_the_weightiest_are_chosen_then_shown_in_their_order() -> None:
    info, warning = moment(100, "info", 0.99), moment(200, "warning", 0.5)
    weak, strong = moment(300, "alert", 0.7), moment(400, "alert", 0.9)
    many = [info, warning, weak, strong]
    assert chosen(many, 41.0, GAP_S) == [weak, strong]
    assert chosen(many, 61.5, GAP_S) == [warning, weak, strong]
    assert chosen(many, 20.0, GAP_S) == [strong]
    assert chosen(many, 1.0, GAP_S) == [strong]  # better a long one than none
    short = moment(150, "info", lasts_s=2.0)
    assert chosen([*many, short], 43.0, GAP_S) == [short, weak, strong]  # fills what is left


def test_two_rules_of_the_same_seconds_are_one_moment() -> None:
    dog, cat, later = moment(100, "info"), moment(103, "alert", rule="cat"), moment(130)
    together = joined([later, cat, dog])
    assert [one.rules for one in together] == [("dog", "cat"), ("dog",)]
    assert together[0].clip == cat.clip
    assert together[0].severity == "alert"
