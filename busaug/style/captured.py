"""An evaluation as one CUDA graph: one launch in place of some hundreds, with the same kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from busaug.style.minimum import Evaluate
from busaug.style.objective import Losses
from busaug.trace import span

# Before a capture libraries choose their algorithms, and what is computed once is computed.
_WARM_UPS = 3


class Captured:
    """Evaluates as the function it was made from does, for images of one shape on a CUDA device.

    That function must not look at values or at the host's state: what it does for the first images
    is done again for all others. Results are the caller's own; the graph's memory is freed with
    this object.

    Raises:
        torch.OutOfMemoryError: from the evaluations before the capture, as without one.
    """

    def __init__(self, evaluate: Evaluate, images: Tensor) -> None:
        """``images`` (B, C, H, W) are any of the shape, dtype and device of those to come."""
        self._evaluate = evaluate  # the graph reads its tensors
        self._images = images.clone()
        with torch.cuda.device(images.device), span("capture"):
            # What was begun on a stream outside of a graph may not be waited for inside.
            aside, here = torch.cuda.Stream(), torch.cuda.current_stream()
            aside.wait_stream(here)
            with torch.cuda.stream(aside):
                for _ in range(_WARM_UPS):
                    evaluate(self._images)
            here.wait_stream(aside)
            self._graph = torch.cuda.CUDAGraph()
            # Threads that write results may use the device meanwhile.
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._losses, self._grad = evaluate(self._images)

    def __call__(self, images: Tensor) -> tuple[Losses, Tensor]:
        """Losses and gradients, of the images' shape."""
        with span("replay"):
            self._images.copy_(images)
            self._graph.replay()
            return self._losses.clone(), self._grad.clone()
