"""Peak memory of ``busaug.srad`` beside its input and output: one image for each thread."""

from __future__ import annotations

import pytest
import torch
from peak_memory import peak_bytes

import busaug

SIDE = 3072
IMAGE_BYTES = 4 * SIDE**2
SLACK = 0.5  # of an image: pages of 2 MiB, stacks, the allocator's own; a buffer too many is 1


def peak_images(work):
    busaug.srad(torch.rand(40, 40))  # imports count no more
    found, result = peak_bytes(work)
    return found / IMAGE_BYTES, result


def test_the_measurement_counts_temporaries():
    image = torch.rand(SIDE, SIDE)
    image[:40].exp().log()  # the library's own pages, read in at first use
    peak, _ = peak_images(lambda: image.exp().log())
    assert peak == pytest.approx(2, abs=SLACK)


@pytest.mark.parametrize(
    ("domain", "q0", "kind"),
    [
        ("log", "auto", "torch"),
        ("log", "auto", "numpy"),
        ("log", "image", "torch"),
        ("linear", "auto", "torch"),
        ("linear", 0.3, "numpy"),
    ],
)
def test_one_image_takes_one_more(domain, q0, kind):
    image = torch.rand(SIDE, SIDE)
    given = image if kind == "torch" else image.numpy()
    peak, result = peak_images(
        lambda: busaug.srad(given, scales=2, iterations=2, domain=domain, q0=q0)
    )
    assert peak < len(result) + 1 + SLACK


@pytest.mark.parametrize(("threads", "images"), [(2, 2), (2, 3), (3, 2)])
def test_a_batch_takes_one_more_a_thread_at_most(threads, images):
    batch = torch.rand(images, SIDE, SIDE)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        peak, _ = peak_images(lambda: busaug.srad(batch, scales=1, iterations=2))
    finally:
        torch.set_num_threads(before)
    assert peak < images + min(threads, images) + SLACK
