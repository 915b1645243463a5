"""Does the daemon live through what happens to cameras, broker, disk and itself?

The long form is `make soak MINUTES=30`.
"""

from pathlib import Path

import pytest

from tests.soak.run import soak


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_minutes_of_faults_lose_nothing(tmp_path: Path) -> None:
    assert soak(tmp_path, seconds=150.0, seed=7) == []
