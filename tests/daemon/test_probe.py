"""Does `smolwatch probe` say what a camera sends, and propose what check-config takes?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from daemon.cli import app
from daemon.config import load_config
from daemon.probe import advice, proposal
from pipelines.probe import StreamFacts
from pipelines.sources import SourceUrl
from tests import rtsp_faults
from tests.h264 import write_numbered_clip
from tests.rtsp_auth import Login
from tests.rtsp_faults import Faults
from tests.rtsp_server import RtspServer

GOOD = StreamFacts("h264", 640, 360, 15.0, 2.0, None, 0.5, False, None)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_numbered_clip(tmp_path_factory.mktemp("clip") / "numbers.mp4", gop=10)


def probe(url: str, *options: str) -> Result:
    return CliRunner().invoke(app, ["probe", url, *options])


def test_what_a_camera_sends_is_measured(clip: Path) -> None:
    faults = Faults(audio=True, clock_offset_s=-100.0)
    with RtspServer(clip, login=Login("admin", "hunter2", "digest"), faults=faults) as server:
        result = probe(server.url, "--json", "--name", "porch")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["codec"], told["width_px"], told["height_px"]) == ("h264", 320, 240)
    assert told["fps"] == pytest.approx(10.0, rel=0.3)
    assert told["keyframe_interval_s"] == pytest.approx(1.0, abs=0.01)
    assert told["audio"] == "pcm_mulaw"
    assert told["first_frame_s"] > 0.0
    assert told["has_clock"]
    assert told["clock_ahead_s"] == pytest.approx(-100.0, abs=5.0)
    assert any("NTP" in line for line in told["advice"])
    assert told["secrets"] == ["PORCH_PASSWORD"]
    assert "hunter2" not in result.output


def test_the_proposal_is_taken_and_means_the_same_address(clip: Path, tmp_path: Path) -> None:
    with RtspServer(clip, login=Login("admin", "g:e@h/eim")) as server:
        result = probe(server.url)
    assert result.exit_code == 0, result.output
    assert "320x240" in result.stdout
    assert "geheim" not in result.output
    assert "heim" not in result.output
    path = tmp_path / "c.yaml"
    path.write_text(result.stdout[result.stdout.index("cameras:") :])
    config = load_config(path, {"CAMERA_PASSWORD": "g:e@h/eim"})
    assert config.cameras["camera"].source.secret == server.url


def test_cameras_that_are_not_on_the_network_are_looked_at_too() -> None:
    result = probe("scene://porch?seed=7", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["codec"] is None
    assert told["width_px"] > 0
    assert told["fps"] > 1.0
    assert "scene://porch?seed=7" in told["config"]


@pytest.mark.parametrize(
    ("address", "shown", "values"),
    [
        ("rtsp://cam/live", "rtsp://cam/live", {}),
        ("rtsp://admin@cam/live", "rtsp://admin@cam/live", {}),
        ("rtsp://a:s%40x@cam/live", "rtsp://a:{A_PASSWORD}@cam/live", {"A_PASSWORD": "s@x"}),
        ("rtsp://a:p:q@r@cam/live", "rtsp://a:{A_PASSWORD}@cam/live", {"A_PASSWORD": "p:q@r"}),
        (
            "http://cam/v?user=a&pwd=secret_one&ch=1",
            "http://cam/v?user=a&pwd={A_PASSWORD}&ch=1",
            {"A_PASSWORD": "secret_one"},
        ),
        (
            "rtsp://cam:554/user=a_password=tl6_channel=1_stream=1.sdp",
            "rtsp://cam:554/user=a_password={A_PASSWORD}_channel=1_stream=1.sdp",
            {"A_PASSWORD": "tl6"},
        ),
        (
            "http://a:one@cam/v?token=two",
            "http://a:{A_PASSWORD}@cam/v?token={A_PASSWORD2}",
            {"A_PASSWORD": "one", "A_PASSWORD2": "two"},
        ),
        ("/dev/v4l/by-id/usb-Cam-index0", "/dev/v4l/by-id/usb-Cam-index0", {}),
    ],
)
def test_passwords_become_references(address: str, shown: str, values: dict[str, str]) -> None:
    yaml, secrets = proposal(SourceUrl(address), "a")
    assert json.dumps(shown) in yaml
    assert secrets == values


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (GOOD, ""),
        (StreamFacts("h264", 3840, 2160, 25.0, 2.0, None, 0.5, False, None), "substream"),
        (StreamFacts("h264", 640, 360, 25.0, 10.0, None, 0.5, False, None), "every 10 s"),
        (StreamFacts("h264", 640, 360, 25.0, None, None, 0.5, False, None), "seldom"),
        (StreamFacts("hevc", 640, 360, 25.0, 2.0, None, 0.5, False, None), "H.265"),
        (StreamFacts("h264", 640, 360, 25.0, 2.0, None, 0.5, True, 60.0), "60 s ahead"),
        (StreamFacts("mjpeg", 640, 360, 25.0, None, None, 0.5, False, None), ""),
    ],
)
def test_advice_is_given_where_there_is_something_to_mend(facts: StreamFacts, says: str) -> None:
    told = advice(facts)
    assert len(told) == bool(says)
    assert says in "".join(told)


@pytest.mark.parametrize(
    ("faults", "change", "code", "error"),
    [
        (Faults(), ("hunter2", "hunter3"), 77, "auth_failed"),
        (Faults(), ("/stream", "/other"), 66, "not_found"),
        (Faults(unanswered={"*"}), ("", ""), 69, "unreachable"),
        (Faults(sdp=lambda sdp: sdp.partition("m=video")[0]), ("", ""), 65, "no_video"),
        (Faults(media=rtsp_faults.no_keyframes), ("", ""), 65, "no_keyframe"),
    ],
    ids=["login", "path", "tarpit", "no video", "no keyframe"],
)
def test_what_is_wrong_has_a_name_a_fix_and_an_exit_code(
    clip: Path, faults: Faults, change: tuple[str, str], code: int, error: str
) -> None:
    with RtspServer(clip, login=Login("admin", "hunter2"), faults=faults) as server:
        result = probe(server.url.replace(*change) if change[0] else server.url, "--json")
    assert result.exit_code == code, result.output
    told = json.loads(result.stdout)
    assert told["error"] == error
    assert told["message"] in result.stderr
    assert "hunter" not in result.output


def test_a_port_that_nobody_listens_on_is_unreachable(clip: Path) -> None:
    server = RtspServer(clip)
    server.start()
    server.stop()
    result = probe(server.url)
    assert result.exit_code == 69
    assert "Check that the camera is on" in result.stderr


def test_a_name_that_no_camera_can_have_is_refused() -> None:
    result = probe("rtsp://cam/live", "--name", "Front Door")
    assert result.exit_code == 2
    assert "front_door" in result.stderr
