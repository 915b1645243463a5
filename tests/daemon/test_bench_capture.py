"""Does the benchmark measure what it says, on a video like a camera's?"""

from __future__ import annotations

from pathlib import Path

import av

from daemon.bench_capture import RATES, as_json, bench_capture, write_clip


def test_the_clip_is_like_a_cameras(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    write_clip(clip, (320, 200), 4)
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
    assert [i for i, packet in enumerate(packets) if packet.is_keyframe] == [0, 30]
    assert len(packets) == 60
    assert all(packet.pts == packet.dts for packet in packets)


def test_every_way_is_measured_against_opencv() -> None:
    costs = list(bench_capture(4, {"tiny": (320, 200)}))
    assert [cost.reader for cost in costs] == [
        "opencv",
        "keyframes",
        *(f"{rate:g}/s" for rate in RATES),
    ]
    told = as_json(costs)
    assert told["fps"] == 15
    first = costs[0]
    assert first.of_opencv == 1.0
    for cost in costs:
        assert cost.cpu_s_per_hour > 0
        assert abs(cost.of_opencv - cost.cpu_s_per_hour / first.cpu_s_per_hour) < 1e-9
