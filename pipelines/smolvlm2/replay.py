"""How are hundreds of small launches started at once?

Knows no model: calls that read and fill tensors which stay where they are. On a GPU a call is
recorded as a CUDA graph when its shapes come for the first time, and replayed from then on;
elsewhere it is simply made. At one token a step the launches would take longer than the work.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import torch

MOST_KEPT = 64  # calls, of all kinds and shapes; the one that was not used for longest goes first


class Replay:
    """Calls by kind and shapes. For one thread."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._pool: Any = torch.cuda.graph_pool_handle() if self._on_gpu else None
        self._calls: OrderedDict[Hashable, tuple[Any, Callable[[], object]]] = OrderedDict()

    def call(
        self, key: Hashable, make_buffers: Callable[[], Any], run: Callable[[Any], object]
    ) -> Call:
        """The call of this kind and shapes, made anew if there is none yet.

        `make_buffers` makes the tensors that the call reads and fills, and `run` is given them. It
        must neither wait for the GPU nor choose by values. It is made once when it is new, on what
        `make_buffers` put there: what that writes must do no harm.
        """
        known = self._calls.pop(key, None)
        if known is None:
            buffers = make_buffers()
            known = (buffers, self._record(lambda: run(buffers)))
            while len(self._calls) >= MOST_KEPT:
                self._calls.popitem(last=False)
        self._calls[key] = known
        return Call(*known)

    def forget(self) -> None:
        """Drop all calls: a tensor that they use has moved."""
        self._calls.clear()
        if self._on_gpu:  # a pool ends with the last graph in it
            self._pool = torch.cuda.graph_pool_handle()

    def _record(self, run: Callable[[], object]) -> Callable[[], object]:
        if not self._on_gpu:
            run()  # as below, so that no mistake is one that only a GPU shows
            return run
        # Once without recording: compiling and cuBLAS's own set-up cannot be recorded.
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            run()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            run()
        return graph.replay


class Call:
    """A call whose `buffers` are filled by the caller before `start`, and read after it."""

    def __init__(self, buffers: Any, start: Callable[[], object]) -> None:
        self.buffers = buffers
        self.start = start
