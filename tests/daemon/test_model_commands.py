"""Do `smolwatch model pull|list|verify|rm` keep what the hub has, and nothing else?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.smolvlm2.loading import from_name
from pipelines.smolvlm2.presets import PRESETS
from tests.checkpoints import write_tiny_checkpoint
from tests.hub import Hub, running

PRESET = PRESETS["256m"]
NEEDED = {"config.json", "tokenizer.json", "model.safetensors"}


class Machine:
    """Runs commands with a cache and a hub of its own: the client reads its settings on import."""

    def __init__(self, folder: Path, hub: Hub) -> None:
        self.hub, self.home = hub, folder / "hf"
        repository = f"models--{PRESET.hub_id.replace('/', '--')}"
        self.repository = self.home / "hub" / repository
        self.snapshot = self.repository / "snapshots" / PRESET.revision

    def model(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return self.run("model", *arguments, **settings)

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return self.python("-c", "from daemon.cli import main; main()", *arguments, **settings)

    def python(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("HF_")},
            "HF_HOME": str(self.home),
            "HF_ENDPOINT": self.hub.url,
            **settings,
        }
        return subprocess.run(
            [sys.executable, *arguments],
            env=environment, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip

    def listed(self) -> dict[str, Any]:
        lines = map(json.loads, self.model("list", "--json").stdout.splitlines())
        return next(line for line in lines if line["model"] == "256m")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    folder = write_tiny_checkpoint(tmp_path / "published")
    (folder / "run_me.py").write_text("print('code')")
    (folder / "model.bin").write_bytes(b"pickled")
    with running(Hub(folder, PRESET.hub_id, PRESET.revision)) as hub:
        yield Machine(tmp_path, hub)


def test_from_pull_to_rm(machine: Machine) -> None:
    assert machine.listed()["state"] == "not here"
    pulled = machine.model("pull", "256m", "--json")
    assert pulled.returncode == 0, pulled.stderr
    told = [json.loads(line) for line in pulled.stdout.splitlines()]
    assert told[-1] == {"model": "256m", "share": 1.0, "directory": str(machine.snapshot)}
    names = {path.name for path in machine.snapshot.iterdir()}
    assert names >= NEEDED
    assert not names & {"run_me.py", "model.bin"}  # data only, never code
    assert machine.hub.sent("run_me.py") == []
    assert from_name(machine.snapshot).frame_edge_px == 64

    found = machine.listed()
    assert (found["state"], found["checksums"]) == ("here", True)
    assert found["bytes"] == sum(len(machine.hub.files[name]) for name in names)
    machine.hub.status = 503  # from here on nobody needs the hub
    verified = machine.model("verify", "256m", HF_HUB_OFFLINE="1")
    assert (verified.returncode, verified.stdout) == (0, "256m: ok\n")
    removed = machine.model("rm", "256m")
    assert "MB are free again" in removed.stdout
    assert not machine.repository.exists()
    again = machine.model("rm", "256m")
    assert (again.returncode, again.stderr) == (1, "smolwatch: 256m is not here\n")


def test_a_pull_that_was_cut_short_goes_on_where_it_was(machine: Machine) -> None:
    # The client writes 10 MiB at a time. Random bytes: nobody loads them.
    machine.hub.files["model.safetensors"] = os.urandom(25 << 20)
    machine.hub.break_after = 15 << 20
    cut = machine.model("pull", "256m")
    assert cut.returncode == 1
    assert "the next pull goes on from there" in cut.stderr
    assert machine.listed()["state"] == "incomplete"
    assert not machine.snapshot.exists()
    machine.hub.status = machine.hub.break_after = None
    machine.hub.requests.clear()
    rest = machine.model("pull", "256m")
    assert rest.returncode == 0, rest.stderr
    assert machine.hub.sent("/cdn/model.safetensors") == [f"bytes={10 << 20}-"]
    assert machine.hub.sent("/tokenizer.json") in ([], [None])
    assert machine.model("verify", "256m").returncode == 0


def test_wrong_bytes_are_deleted_and_named(machine: Machine) -> None:
    machine.hub.wrong = {"model.safetensors"}
    pulled = machine.model("pull", "256m")
    assert pulled.returncode == 1
    assert "model.safetensors did not arrive as the hub has it" in pulled.stderr
    assert machine.listed()["state"] == "incomplete"
    assert not list(machine.repository.glob("blobs/*.part"))
    machine.hub.wrong = {"config.json"}  # small files are checked, too
    pulled = machine.model("pull", "256m")
    assert pulled.returncode == 1
    assert "config.json did not arrive" in pulled.stderr


def test_what_changed_on_the_disk_is_found_and_fetched_anew(machine: Machine) -> None:
    assert machine.model("pull", "256m").returncode == 0
    weights = (machine.snapshot / "model.safetensors").resolve()
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + b"!")
    (machine.snapshot / "tokenizer.json").unlink()
    verified = machine.model("verify", "256m", "--json")
    assert verified.returncode == 1
    wrong = json.loads(verified.stdout)["wrong"]
    assert set(wrong) == {"model.safetensors", "tokenizer.json"}
    machine.hub.requests.clear()
    assert machine.model("pull", "256m").returncode == 0
    assert machine.hub.sent("/cdn/model.safetensors") == [None]
    assert machine.hub.sent("resolve/" + PRESET.revision + "/config.json") == []  # it was right
    assert weights.read_bytes() == content


LOOK = """
import json, os
from daemon.doctor_files import check_files
for one in check_files("256m"):
    print(json.dumps([one.level, one.text, one.fix]))
"""


def test_the_doctor_finds_a_damaged_file(machine: Machine, tmp_path: Path) -> None:
    def found() -> list[list[str]]:
        looked = machine.python("-c", LOOK)
        assert looked.returncode == 0, looked.stderr
        return [json.loads(line) for line in looked.stdout.splitlines()]

    assert found() == []  # it is not here, and that is told elsewhere
    assert machine.model("pull", "256m").returncode == 0
    assert found() == [["ok", "256m: every byte as it was pulled", None]]
    weights = (machine.snapshot / "model.safetensors").resolve()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    config = tmp_path / "c.yaml"
    config.write_text("model: {name: 256m}\ncameras: {a: {source: 'scene://porch'}}\nstore: off\n")
    ran = machine.run("doctor", "-c", str(config), "--json")
    told = {one["what"]: one for one in map(json.loads, ran.stdout.splitlines())}
    assert (ran.returncode, told["files"]["fix"]) == (1, "smolwatch model pull 256m")
    assert "model.safetensors is not what was pulled" in told["files"]["text"]
    assert "model" not in told  # what it would answer means nothing
    machine.snapshot.parents[1].joinpath(f"smolwatch-{PRESET.revision}.json").unlink()
    assert found()[0][0] == "warn"  # fetched by somebody else


def test_another_file_under_the_same_commit_is_refused(machine: Machine) -> None:
    assert machine.model("pull", "256m").returncode == 0
    machine.hub.files["model.safetensors"] += b"\0"
    pulled = machine.model("pull", "256m")
    assert pulled.returncode == 1
    assert "is not the one that was pulled first" in pulled.stderr
    assert machine.model("verify", "256m").returncode == 0


def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(machine: Machine) -> None:
    machine.hub.claimed["model.safetensors"] = 10**16
    pulled = machine.model("pull", "256m")
    assert pulled.returncode == 1
    assert "the model needs 10000000000 MB more" in pulled.stderr
    assert machine.hub.sent("model.safetensors") == []


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "it wants a login"), (403, "set HF_TOKEN"), (404, "the hub has no commit")],
)
def test_refusals_say_what_to_do(machine: Machine, status: int, said: str) -> None:
    machine.hub.status = status
    pulled = machine.model("pull", "256m")
    assert pulled.returncode == 1
    assert said in pulled.stderr
    assert "Traceback" not in pulled.stderr


def test_offline_and_wrong_names(machine: Machine) -> None:
    offline = machine.model("pull", "256m", HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set" in offline.stderr
    assert machine.hub.requests == []
    unknown = machine.model("pull", "257m")
    assert unknown.returncode == 1
    assert "there are 256m, 500m" in unknown.stderr
    bundled = machine.model("rm", "bundled")
    assert "comes with smolwatch" in bundled.stderr
    verified = machine.model("verify", "500m")
    assert verified.returncode == 1
    assert "run smolwatch model pull" in verified.stderr
