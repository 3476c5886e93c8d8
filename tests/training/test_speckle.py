"""Random despeckling: which images change, and that those are the scales of ``busaug.srad``."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import busaug
from busaug.errors import InputError
from busaug.training import RandomSrad


def batch(count=16):
    return torch.rand(count, 2, 33, 40, generator=torch.Generator().manual_seed(0))


def test_an_image_is_one_of_its_scales_or_itself():
    images = batch(40)
    transform = RandomSrad(0.5, scales=3, iterations=2, generator=torch.Generator().manual_seed(1))
    found = transform(images)
    candidates = torch.cat([images[None], busaug.srad(images, scales=3, iterations=2)])
    # all channels of an image come from the same scale
    same = (candidates == found).flatten(2).all(2)
    assert same.any(0).all()
    counts = same.long().argmax(0).bincount(minlength=4)
    assert (counts > 0).all()
    assert abs(int(counts[0]) - 20) <= 4 * 40**0.5 / 2


def test_never_and_always_and_eval():
    images = batch()
    assert torch.equal(RandomSrad(0)(images), images)
    assert not (RandomSrad(1)(images) == images).flatten(1).all(1).any()
    assert torch.equal(RandomSrad(1).eval()(images), images)


def test_a_single_image_and_a_sequence_of_modules():
    image = batch(1)[0]
    model = nn.Sequential(RandomSrad(1, scales=1, iterations=3), nn.Identity())
    torch.testing.assert_close(
        model(image), busaug.srad(image, scales=1, iterations=3)[0], rtol=0, atol=0
    )


def test_draws_repeat_with_the_generator():
    images = batch()
    one, two = (RandomSrad(generator=torch.Generator().manual_seed(3))(images) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(RandomSrad(generator=torch.Generator().manual_seed(4))(images), one)


def test_bad_input_is_named():
    with pytest.raises(InputError, match="p=-1"):
        RandomSrad(-1)
    with pytest.raises(InputError, match="scales=0"):
        RandomSrad(scales=0)
    with pytest.raises(InputError, match=r"shape \(33, 40\)"):
        RandomSrad()(batch()[0, 0])
    with pytest.raises(InputError, match="domain"):
        RandomSrad(domain="db")


def test_same_on_batch_draws_once_for_all():
    images = batch(6)
    candidates = torch.cat([images[None], busaug.srad(images, scales=3, iterations=2)])
    transform = RandomSrad(0.5, scales=3, iterations=2, same_on_batch=True)
    drawn = set()
    for _ in range(40):
        same = (candidates == transform(images)).flatten(1).all(1)
        assert same.sum() == 1
        drawn.add(int(same.long().argmax()))
    assert drawn == {0, 1, 2, 3}


def test_workers_and_epochs_draw_differently():
    """As the transform of a dataset: what two workers, two epochs and a repetition change."""

    class Repeated(Dataset):
        def __init__(self):
            self.transform = RandomSrad(0.9, scales=8, iterations=1)

        def __len__(self):
            return 12

        def __getitem__(self, index):
            return self.transform(batch(1)[0])

    def epochs():
        torch.manual_seed(0)
        loader = DataLoader(Repeated(), batch_size=6, num_workers=2)
        return [[images.flatten(1).mean(1).tolist() for images in loader] for _ in range(2)]

    first, second = epochs()
    assert first[0] != first[1]
    assert first != second
    assert epochs() == [first, second]


def test_it_stands_among_kornias_modules(kornia):
    images = batch(3)
    expected = busaug.srad(images, scales=1, iterations=2)[0].flip(-1)
    flip = kornia.augmentation.RandomHorizontalFlip(p=1)
    for chain in (nn.Sequential, kornia.augmentation.AugmentationSequential):
        found = chain(RandomSrad(1, scales=1, iterations=2), flip)(images)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
