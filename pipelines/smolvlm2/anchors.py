"""Which prompts of growing windows are kept, so that only new frames are run?

Knows an engine that can extend a prompt, and bytes; no cameras and no schedule. A window that
slides changes its first frame and all its times, and with them every key and value behind; one that
is anchored only grows at its end. What is kept is exact: the same prompt run afresh gives the same.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

from pipelines.clock import Clock
from pipelines.smolvlm2.batch_protocol import Prompt
from pipelines.smolvlm2.engine_protocol import Prefix
from pipelines.types import FrameKey

KEPT_BYTES: Final = 256 << 20  # 4 windows of 16 frames of the 256M model in float32, 8 in bfloat16
_FORGOTTEN_S: Final = 120.0  # a camera that is quiet for so long gives its room to another


@runtime_checkable
class ExtendingEngine(Protocol):
    """An `Engine` that can run on behind a prompt."""

    def extend(self, prefix: Any, ids: Any, features: Any) -> Any:
        """Run `ids` behind the prompt of `prefix`, and make them part of it.

        `features`: of the frames among `ids`, [N, tokens, hidden]. `prefix` itself is of no use any
        more. Raises `ValueError` if there is not room enough, or features do not fit.
        """
        ...

    def bytes_of(self, prefix: Any) -> int:
        """What a prefix takes in memory."""
        ...


@dataclass(slots=True)
class _Kept:
    prefix: Prefix
    ids: tuple[int, ...]
    keys: tuple[FrameKey, ...]
    num_bytes: int
    used_s: float


class KeptPrefixes:
    """Prompts by the name of whose they are, bounded in bytes. For one thread.

    When full, newcomers are not kept, unless others were not used for long: were the longest unused
    to go first, cameras that take turns would push each other out before any is used again. One is
    kept whatever its size: of the 2.2B, 16 frames take 320 MB in bfloat16.
    """

    def __init__(self, clock: Clock, max_bytes: int = KEPT_BYTES) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self.extended = 0  # prompts of which only the end was run
        self._clock = clock
        self._kept: dict[Hashable, _Kept] = {}

    def __len__(self) -> int:
        """Count the prompts held."""
        return len(self._kept)

    def find(
        self, name: Hashable, prompt: Prompt, keys: tuple[FrameKey, ...], engine: ExtendingEngine
    ) -> Prefix | None:
        """The prompt's prefix, out of what is kept under that name; None if it must be run afresh.

        `keys` name the prompt's frames.
        """
        kept = self._kept.pop(name, None)
        if kept is None:
            return None
        self.num_bytes -= kept.num_bytes
        begun, frames = len(kept.ids), len(kept.keys)
        goes_on = prompt.ids[:begun] == kept.ids and keys[:frames] == kept.keys
        if not goes_on or kept.prefix.room < prompt.room + len(prompt.ids) - begun:
            return None
        prefix = kept.prefix
        if begun < len(prompt.ids):
            prefix = engine.extend(prefix, prompt.ids[begun:], prompt.features[frames:])
            self.extended += 1
        self.keep(name, prompt, keys, prefix, kept.num_bytes)
        return prefix

    def keep(
        self,
        name: Hashable,
        prompt: Prompt,
        keys: tuple[FrameKey, ...],
        prefix: Prefix,
        num_bytes: int,
    ) -> None:
        """Keep a prompt that was run, if there is room for it."""
        now_s = self._clock.monotonic_s()
        self._drop(name)
        for other in [n for n, k in self._kept.items() if now_s - k.used_s > _FORGOTTEN_S]:
            self._drop(other)
        if not self._kept or self.num_bytes + num_bytes <= self.max_bytes:
            self._kept[name] = _Kept(prefix, prompt.ids, keys, num_bytes, now_s)
            self.num_bytes += num_bytes

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self.num_bytes = 0

    def _drop(self, name: Hashable) -> None:
        kept = self._kept.pop(name, None)
        if kept is not None:
            self.num_bytes -= kept.num_bytes
