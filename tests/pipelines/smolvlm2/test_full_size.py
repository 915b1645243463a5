"""Does a checkpoint of the published 256M size run through the same path, and in what memory?"""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipelines.smolvlm2.loading import from_name
from pipelines.smolvlm2.prompt import DESCRIBE_PROMPT
from pipelines.smolvlm2.random_weights import write_random_checkpoint
from tests.pipelines.smolvlm2.conftest import QUESTIONS, make_frames, make_window

MIB = 1 << 20


def memory_mib() -> float:
    """What this process holds in memory now, mapped files included."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_256m_size_loads_once_and_runs_sliding_windows(tmp_path: Path, record_property):
    directory = write_random_checkpoint(tmp_path / "256m", "256m")
    weights_mib = (directory / "model.safetensors").stat().st_size / MIB
    assert weights_mib == pytest.approx(978, rel=0.02)  # 256.5 M parameters in float32
    gc.collect()
    before_mib = memory_mib()
    torch.set_num_threads(2)

    model = from_name(directory, precision="f32", device="cpu")
    assert model.frame_edge_px == 512

    frames = make_frames(9, 288, 512)
    report = []
    for seq, expected_encoded in ((0, 8), (1, 1)):
        window = make_window(frames[seq : seq + 8], seq)
        prompt = DESCRIBE_PROMPT if seq else None
        observation = model.observe(window, QUESTIONS, prompt)
        timings = observation.timings
        assert timings.frames_encoded == expected_encoded
        assert all(0 <= p_yes <= 1 for p_yes in observation.answers.values())
        assert (observation.description is not None) == (prompt is not None)
        report.append(
            f"window {seq}: encode {timings.encode_ms:.0f} ms ({timings.frames_encoded} frames), "
            f"prefill {timings.prefill_ms:.0f} ms, decode {timings.decode_ms:.0f} ms"
        )
    assert model.cache.num_bytes == 9 * 64 * 576 * 4
    used_mib = memory_mib() - before_mib
    assert used_mib < 1.5 * weights_mib  # weights once, and what a window needs
    report.append(f"memory: {used_mib:.0f} MiB for {weights_mib:.0f} MiB of weights")
    record_property("report", report)
    sys.stdout.write("\n" + "\n".join(report) + "\n")  # shown by pytest -s or -rP


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_256m_size_in_bf16_stays_within_its_bound(tmp_path: Path):
    # No windows where bfloat16 is emulated: one would take an hour. They add 60 MB.
    directory = write_random_checkpoint(tmp_path / "256m", "256m")
    code = (
        "import sys; from pathlib import Path;"
        "from daemon.bench_child import QUESTIONS, peak_rss_mb, stream;"
        "from pipelines.smolvlm2.device import cpu_multiplies_bf16, read_cpuinfo;"
        "from pipelines.smolvlm2.loading import from_name;"
        "model = from_name(Path(sys.argv[1]), precision='bf16', device='cpu', engine='torch');"
        "windows = stream('porch', model.frame_edge_px, 1);"
        "count = 3 if cpu_multiplies_bf16(read_cpuinfo()) else 0;"
        "[model.observe(next(windows), QUESTIONS[:4], 'Describe it.') for _ in range(count)];"
        "print(peak_rss_mb())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(directory)], check=True, capture_output=True, text=True
    )
    sys.stdout.write(f"\npeak: {done.stdout}")
    if torch.backends.cuda.is_built():
        pytest.skip(f"PyTorch's CUDA libraries count too: {done.stdout.strip()} MB")
    # 513 MB of weights; PyTorch and transformers 410 MB, or 500 right after their installation,
    # when the system maps their files in larger pieces.
    assert int(done.stdout) < 1300
