"""A step as one CUDA graph: one launch in place of some hundreds, with the same kernels."""

from __future__ import annotations

from collections.abc import Callable

import torch

from busaug.trace import span

# Before a capture libraries choose their algorithms, and what is computed once is computed.
_WARM_UPS = 3


class Captured:
    """Does what the function it was made from does, replayed from its fourth call on.

    That function may look at no value and at no state of the host, and all that it leaves behind
    must stay where it is in memory: what it does on the fourth call is done again on all others.
    The graph's own memory is freed with this object.

    Raises:
        torch.OutOfMemoryError: from calls before the capture, as without one.
    """

    def __init__(self, step: Callable[[], None], device: torch.device) -> None:
        self._step, self._device = step, device
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        self._calls += 1
        if self._calls <= _WARM_UPS:
            with torch.cuda.device(self._device):
                self._aside()
            return
        if self._graph is None:
            with torch.cuda.device(self._device), span("capture"):
                self._graph = torch.cuda.CUDAGraph()
                # Threads that write results may use the device meanwhile.
                with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                    self._step()
        with span("replay"):
            self._graph.replay()

    def _aside(self) -> None:
        """On another stream: what was begun outside of a graph may not be waited for inside."""
        aside, here = torch.cuda.Stream(), torch.cuda.current_stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            self._step()
        here.wait_stream(aside)
