"""The torchvision transform, among torchvision's own and in a DataLoader."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import PIL.Image
import pytest
import torch

import busaug
from busaug.errors import InputError


@pytest.fixture(scope="module")
def transform(torchvision):
    from busaug.training.torchvision import RandomSrad

    return RandomSrad


@pytest.fixture(scope="module")
def tv_tensors(torchvision):
    from torchvision import tv_tensors

    return tv_tensors


@pytest.fixture(scope="module")
def v2(torchvision):
    from torchvision.transforms import v2

    return v2


def picture(seed=0, channels=1, dtype=np.float32):
    values = np.random.default_rng(seed).random((channels, 40, 48))
    return torch.from_numpy(
        (values * (np.iinfo(dtype).max if dtype != np.float32 else 1)).astype(dtype)
    )


def scales_of(image):
    return [image, *busaug.srad(image, scales=3, iterations=2)]


def which(found, candidates):
    return [torch.equal(found, candidate) for candidate in candidates].index(True)


def test_the_images_of_a_sample_share_a_scale_and_the_rest_stays(transform, tv_tensors):
    one, two = picture(0), picture(1)
    sample = {
        "image": tv_tensors.Image(one),
        "clip": tv_tensors.Video(two[None]),
        "mask": tv_tensors.Mask(one > 0.5),
        "boxes": tv_tensors.BoundingBoxes([[1, 2, 3, 4]], format="XYXY", canvas_size=(40, 48)),
        "label": torch.tensor(1.0),
    }
    random = transform(0.8, scales=3, iterations=2)
    drawn = set()
    for _ in range(40):
        found = random(sample)
        assert {key: type(value) for key, value in found.items()} == {
            key: type(value) for key, value in sample.items()
        }
        scale = which(found["image"].as_subclass(torch.Tensor), scales_of(one))
        assert which(found["clip"].as_subclass(torch.Tensor)[0], scales_of(two)) == scale
        drawn.add(scale)
        for key in ("mask", "boxes", "label"):
            assert torch.equal(found[key], sample[key])
    assert drawn == {0, 1, 2, 3}
    assert torch.equal(sample["image"], picture(0))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_picture_and_a_tensor_of_the_same_levels_agree(transform, tv_tensors, dtype):
    levels = picture(dtype=dtype)[0]
    always = transform(1, scales=1, iterations=3)
    tensor = always(tv_tensors.Image(levels[None]))
    image = always(PIL.Image.fromarray(levels.numpy()))
    assert isinstance(image, PIL.Image.Image)
    assert image.mode == ("L" if dtype == np.uint8 else "I;16")
    np.testing.assert_array_equal(np.asarray(image), tensor[0].numpy())
    assert tensor.dtype == levels.dtype


def test_colour_pictures(transform):
    levels = picture(channels=3, dtype=np.uint8)
    always = transform(1, scales=1, iterations=3)
    image = always(PIL.Image.fromarray(levels.movedim(0, -1).numpy()))
    np.testing.assert_array_equal(np.asarray(image), always(levels).movedim(0, -1).numpy())
    with pytest.raises(InputError, match="mode RGBA"):
        always(image.convert("RGBA"))


def test_draws_are_those_of_torch_s_generator(transform):
    def draws():
        torch.manual_seed(3)
        return [transform(0.5, scales=3)(picture()).sum().item() for _ in range(20)]

    first = draws()
    assert len(set(first)) == 4
    assert draws() == first


def test_among_its_own_in_workers(transform, v2, tv_tensors):
    class Images(torch.utils.data.Dataset):
        def __init__(self):
            self.transform = v2.Compose(
                [transform(0.9, scales=8, iterations=1), v2.ToDtype(torch.float32, scale=True)]
            )

        def __len__(self):
            return 12

        def __getitem__(self, index):
            return self.transform(picture(dtype=np.uint8)), index

    def epochs():
        torch.manual_seed(0)
        loader = torch.utils.data.DataLoader(Images(), batch_size=6, num_workers=2)
        return [[images.flatten(1).mean(1).tolist() for images, _ in loader] for _ in range(2)]

    first, second = epochs()
    assert first[0] != first[1]
    assert first != second
    assert epochs() == [first, second]


def test_it_prints_and_pickles(transform):
    random = pickle.loads(pickle.dumps(transform(0.25, scales=3)))
    assert repr(random) == "RandomSrad(p=0.25, scales=3, iterations=5)"
    assert random(picture()).shape == (1, 40, 48)


def test_bad_input_is_named(transform):
    with pytest.raises(InputError, match="p=2"):
        transform(2)
    with pytest.raises(InputError, match="scales=0"):
        transform(scales=0)
    with pytest.raises(InputError, match="dtype int64"):
        transform(1)(torch.ones(1, 4, 4, dtype=torch.int64))


def test_without_torchvision_the_remedy_is_told(monkeypatch):
    monkeypatch.delitem(sys.modules, "busaug.training.torchvision", raising=False)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(InputError, match=r"needs torchvision.*made for the installed torch"):
        import busaug.training.torchvision  # noqa: F401
