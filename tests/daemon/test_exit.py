"""Does the daemon end when it is told to, whatever its camera does? (Fault 15)"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.h264 import write_numbered_clip
from tests.rtsp_server import RtspServer

CONFIG = """
cameras:
  door: {{source: "{url}", gate: always}}
log: {{level: info}}
store: off
"""
STUCK_S = 0.5  # what was on its way has been read by then, and the read waits for more
MOST_S = 3.0


def test_15_sigterm_during_a_stuck_read_ends_within_three_seconds(tmp_path: Path) -> None:
    clip = write_numbered_clip(tmp_path / "numbers.mp4")
    config = tmp_path / "c.yaml"
    with RtspServer(clip) as server:
        config.write_text(CONFIG.format(url=server.url), encoding="utf-8")
        program = "from daemon.cli import main; main()"
        with subprocess.Popen(
            [sys.executable, "-c", program, "run", "-c", str(config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=Path(__file__).parents[2],
            text=True,
        ) as process:
            assert process.stdout is not None
            log = iter(process.stdout.readline, "")
            assert any("online" in line for line in log)
            server.pause()
            threading.Event().wait(STUCK_S)
            process.send_signal(signal.SIGTERM)
            assert process.wait(MOST_S) == 0  # the read itself would take six
            assert "daemon.stopped" in "".join(log)
