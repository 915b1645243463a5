"""Which models are there, and in which directory does each lie?

Knows no tensors: a name becomes a directory, fetched from the Hugging Face hub where need be. A
fetch is pinned to a 40-digit commit and takes JSON and safetensors files only, never code.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType

from pipelines.errors import ModelError, ModelUnavailable
from pipelines.smolvlm2.hub import Place, Progress, is_here, pull

BUNDLED_DIR = Path(__file__).parent.parent / "scenes" / "model"


@dataclass(frozen=True, slots=True)
class Preset:
    """A published checkpoint.

    Sizes stand in its config.json, and are not repeated here but for the one that is needed before
    that file is there.
    """

    hub_id: str
    revision: str  # 40 hex digits
    frame_edge_px: int

    @property
    def model_id(self) -> str:
        """As shown in events: the repository's name and the revision's first seven digits."""
        return f"{self.hub_id.split('/')[-1]}@{self.revision[:7]}"

    @property
    def place(self) -> Place:
        """Where its files are, in the hub's cache."""
        return Place(self.hub_id, self.revision)

    @property
    def folder(self) -> str:
        """What to call a directory that it is copied to."""
        return self.hub_id.split("/")[-1].lower()


PRESETS = MappingProxyType(
    {
        "256m": Preset(
            "HuggingFaceTB/SmolVLM2-256M-Video-Instruct",
            "067788b187b95ebe7b2e040b3e4299e342e5b8fd",
            frame_edge_px=512,
        ),
        "500m": Preset(
            "HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
            "7b375e1b73b11138ff12fe22c8f2822d8fe03467",
            frame_edge_px=512,
        ),
        "2.2b": Preset(
            "HuggingFaceTB/SmolVLM2-2.2B-Instruct",
            "482adb537c021c86670beed01cd58990d01e72e4",
            frame_edge_px=384,
        ),
        # The first SmolVLM: an image model of the Idefics3 architecture, not tuned for time.
        "smolvlm-256m": Preset(
            "HuggingFaceTB/SmolVLM-256M-Instruct",
            "7e3e67edbbed1bf9888184d9df282b700a323964",
            frame_edge_px=512,
        ),
        "smolvlm-500m": Preset(
            "HuggingFaceTB/SmolVLM-500M-Instruct",
            "a7da5b986cb59b408707209984f360a5f4ad7e47",
            frame_edge_px=512,
        ),
        "smolvlm-2.2b": Preset(
            "HuggingFaceTB/SmolVLM-Instruct",
            "81cd9a775a4d644f2faf4e7becff4559b46b14c7",
            frame_edge_px=384,
        ),
    }
)
NAMES = ("bundled", *PRESETS)


def find_checkpoint(
    name_or_dir: str | Path, progress: Progress | None = None
) -> tuple[Path, str | None]:
    """Return the directory of a model, and its model id where a preset fixes it.

    `name_or_dir`: one of `NAMES` or a directory. May fetch (up to 9 GB) if the preset is not in the
    hub's local cache yet. Raises `ModelError`, `ModelUnavailable` where a later try may do better.
    """
    name = str(name_or_dir)
    if name == "bundled":
        return BUNDLED_DIR, None
    if name in PRESETS:
        return _fetch(name, PRESETS[name], progress), PRESETS[name].model_id
    directory = Path(name).expanduser()
    if directory.is_dir():
        return directory, None
    if isinstance(name_or_dir, Path) or os.sep in name or name.startswith((".", "~")):
        raise ModelUnavailable(f"no model directory {directory}; or use a name: {', '.join(NAMES)}")
    close = get_close_matches(name.lower(), NAMES, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ModelError(
        f"no model is named {name!r}{hint} Known are {', '.join(NAMES)}, or give a directory that "
        "holds config.json, tokenizer.json and model.safetensors"
    )


def _fetch(name: str, preset: Preset, progress: Progress | None) -> Path:
    """Give the preset's snapshot from the local cache, else from the hub."""
    if is_here(preset.place):
        return preset.place.snapshot
    tell = progress or _nobody
    tell(0.0)
    try:
        return pull(preset.place, tell)
    except ModelError as error:
        raise type(error)(
            f"model {name!r} ({preset.hub_id}) is not in the local cache and cannot be fetched: "
            f"{error}. Where there is a network, run smolwatch model pull {name}; for a machine "
            "without one, run elsewhere\n"
            f"  hf download {preset.hub_id} --revision {preset.revision} "
            f"--include '*.json' --include '*.safetensors' --local-dir {preset.folder}\n"
            f"then copy the directory here and give its path as the model. Without a network, "
            f"'bundled' works at once, but understands the demo scenes only."
        ) from error


def _nobody(_: float) -> None:
    """Nobody wants to know."""
