"""Do the model's threads leave room for the cameras?"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipelines.threads import (
    NICENESS,
    SPIN_COUNT,
    default_threads,
    quota_cores,
    spin_shortly,
    yield_to_capture,
)


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("150000 100000\n", 1),
        ("50000 100000\n", 1),
        ("1600000 100000", 8),
        ("", 8),
    ],
)
def test_a_cgroups_quota_counts(tmp_path: Path, text: str, cores: int):
    path = tmp_path / "cpu.max"
    path.write_text(text)
    assert quota_cores(path, 8) == cores
    assert quota_cores(tmp_path / "none", 8) == 8


def test_only_the_cores_that_are_allowed_count():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from pipelines.threads import default_threads; print(default_threads())"
    )
    done = subprocess.run(  # noqa: PLW1510 - what it printed is looked at below
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "1"
    assert 1 <= default_threads() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize("own", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}])
def test_what_the_user_has_set_stays(own: dict[str, str]):
    environ: dict[str, str] = {}
    spin_shortly(environ)
    assert environ == {"GOMP_SPINCOUNT": SPIN_COUNT}
    environ = dict(own)
    spin_shortly(environ)
    assert environ == own


def test_openmp_has_it_before_pytorch_comes():
    code = (
        "import sys; from daemon import cli; assert 'torch' not in sys.modules;"
        "cli.app = lambda: __import__('torch').ones(9);"
        "cli.main()"
    )
    environ = {**os.environ, "OMP_DISPLAY_ENV": "VERBOSE"}
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        environ.pop(name, None)
    done = subprocess.run(  # noqa: PLW1510 - the code is looked at below
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, env=environ
    )
    assert done.returncode == 0, done.stderr
    assert f"GOMP_SPINCOUNT = '{SPIN_COUNT}'" in done.stderr  # libgomp's own words


def test_only_the_thread_that_yields_is_lowered():
    seen: list[int] = []

    def thread() -> None:
        yield_to_capture()
        started = threading.Thread(  # as OpenMP's own are
            target=lambda: seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        )
        started.start()
        started.join()

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    worker = threading.Thread(target=thread)
    worker.start()
    worker.join()
    assert seen == [max(before, NICENESS)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
