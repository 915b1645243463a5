"""Which model looks at windows, and what is said until it is there?

Knows no files and no network: whoever loads a model puts it here. Cameras, status and requests are
served from the start, so that a model that takes minutes, or never comes, is no reason for silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.errors import InferenceError, RequestRefused
from pipelines.types import Look, Observation, VideoModel, Window

Phase = Literal["downloading", "loading", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class ModelState:
    """How far it is. `detail`: `43%` of a download, or why it failed."""

    phase: Phase
    detail: str = ""

    def __str__(self) -> str:
        """As it is shown: `downloading 43%`, `failed: why`."""
        if self.phase == "failed":
            return f"failed: {self.detail}"
        return f"{self.phase} {self.detail}".rstrip()


class ModelSlot:
    """A `VideoModel` that may not be there yet.

    Until it is, `model_id` and `frame_edge_px` are what is known of it beforehand. Whatever else is
    wanted of it raises `RequestRefused`; `observe` and its like raise `InferenceError`. One thread
    uses the model; any may put another one in, and ask for `state`.
    """

    def __init__(self, model_id: str, frame_edge_px: int) -> None:
        self._model: VideoModel | None = None
        self._model_id = model_id
        self._frame_edge_px = frame_edge_px
        self.state = ModelState("loading")

    @classmethod
    def holding(cls, model: VideoModel) -> ModelSlot:
        """A slot whose model is there."""
        slot = cls(model.model_id, model.frame_edge_px)
        slot.put(model)
        return slot

    def put(self, model: VideoModel) -> None:
        """Use this one from the next look on."""
        self._model = model
        self.state = ModelState("ready")

    def empty(self, model_id: str, frame_edge_px: int) -> None:
        """Let go of the model, so that another one has room; this is what is known of that one."""
        self._model, self._model_id, self._frame_edge_px = None, model_id, frame_edge_px

    @property
    def away(self) -> str | None:
        """Why there is no model, in words; None where there is one."""
        if self._model is not None:
            return None
        state = self.state
        if state.phase == "failed":
            return f"the model cannot be loaded: {state.detail}"
        return f"the model is {state}"

    @property
    def model_id(self) -> str:
        """See `VideoModel`."""
        return self._model_id if self._model is None else self._model.model_id

    @property
    def frame_edge_px(self) -> int:
        """See `VideoModel`."""
        return self._frame_edge_px if self._model is None else self._model.frame_edge_px

    @property
    def writes(self) -> bool:
        """See `VideoModel`. Raises `RequestRefused`."""
        return self._asked().writes

    @property
    def max_tokens(self) -> int:
        """See `VideoModel`. Raises `RequestRefused`."""
        return self._asked().max_tokens

    def count_tokens(self, text: str) -> int:
        """See `VideoModel`. Raises `RequestRefused`."""
        return self._asked().count_tokens(text)

    @property
    def windows_at_once(self) -> int:
        """See `VideoModel`."""
        return 1 if self._model is None else self._model.windows_at_once

    def write(self, task: str, max_tokens: int) -> Iterator[str]:
        """See `VideoModel`."""
        return self._used().write(task, max_tokens)

    def observe(self, window: Window, questions: Sequence[str], prompt: str | None) -> Observation:
        """See `VideoModel`."""
        return self._used().observe(window, questions, prompt)

    def observe_many(self, looks: Sequence[Look]) -> Sequence[Observation | InferenceError]:
        """See `VideoModel`."""
        return self._used().observe_many(looks)

    def _asked(self) -> VideoModel:
        model = self._model
        if model is None:
            raise RequestRefused(f"{self.away}: ask again when it is there")
        return model

    def _used(self) -> VideoModel:
        model = self._model
        if model is None:
            raise InferenceError(str(self.away))
        return model
