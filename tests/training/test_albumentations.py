"""The albumentations transform, among albumentations' own and in a DataLoader."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
import torch
from tolerances import TOLERANCES

import busaug
from busaug.errors import InputError


@pytest.fixture(scope="module")
def transform(albumentations):
    from busaug.training.albumentations import RandomSrad

    return RandomSrad


def picture(seed=0):
    return np.random.default_rng(seed).random((40, 48), dtype=np.float32)


def scales_of(image):
    return [image, *busaug.srad(image, scales=3, iterations=2)]


def which(found, image):
    return [np.array_equal(found, scale) for scale in scales_of(image)].index(True)


def test_images_become_a_scale_and_the_rest_stays(albumentations, transform):
    pipeline = albumentations.Compose(
        [transform(0.7, scales=3, iterations=2)], additional_targets={"other": "image"}, seed=0
    )
    one, two = picture(0), picture(1)
    mask = (one > 0.5).astype(np.uint8)
    drawn = []
    for _ in range(60):
        found = pipeline(image=one, other=two, mask=mask)
        drawn.append(which(found["image"], one))
        assert which(found["other"], two) == drawn[-1]
        np.testing.assert_array_equal(found["mask"], mask)
    assert set(drawn) == {0, 1, 2, 3}
    assert abs(drawn.count(0) - 18) <= 4 * (60 * 0.21) ** 0.5
    np.testing.assert_array_equal(one, picture(0))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_levels_and_channels(transform, dtype, channels):
    shape = (40, 48) if channels is None else (40, 48, channels)
    full = np.iinfo(dtype).max
    image = (np.random.default_rng(0).random(shape) * full).astype(dtype)
    found = transform(1, scales=1, iterations=3)(image=image)["image"]
    assert (found.dtype, found.shape) == (image.dtype, image.shape)
    unit = (image.astype(np.float32) / np.float32(full)).reshape(40, 48, -1)
    exact = np.stack([busaug.srad(np.ascontiguousarray(unit[..., c]), scales=1, iterations=3)[0]
                      for c in range(unit.shape[-1])], -1).astype(np.float64) * full  # fmt: skip
    level = 0.5 + TOLERANCES["half a level, of full scale"] * full
    assert np.abs(found.reshape(exact.shape) - exact).max() <= level


def test_the_seed_of_compose_sets_the_draws(albumentations, transform):
    def draws(seed):
        pipeline = albumentations.Compose([transform(0.5, scales=3, iterations=2)], seed=seed)
        return [which(pipeline(image=picture())["image"], picture()) for _ in range(20)]

    assert draws(1) == draws(1) != draws(2)


def test_workers_and_epochs_draw_differently(albumentations, transform):
    class Images(torch.utils.data.Dataset):
        def __init__(self):
            self.pipeline = albumentations.Compose([transform(0.9, scales=8, iterations=1)], seed=0)

        def __len__(self):
            return 12

        def __getitem__(self, index):
            return self.pipeline(image=picture())["image"]

    def epochs():
        torch.manual_seed(0)
        loader = torch.utils.data.DataLoader(Images(), batch_size=6, num_workers=2)
        return [[images.flatten(1).mean(1).tolist() for images in loader] for _ in range(2)]

    first, second = epochs()
    assert first[0] != first[1]
    assert first != second
    assert epochs() == [first, second]


def test_it_prints_pickles_replays_and_serialises(albumentations, transform):
    random = transform(1, scales=3, iterations=2, form=2)
    assert "scales=3" in repr(random)
    image = picture()
    pickled = pickle.loads(pickle.dumps(random))
    again = albumentations.from_dict(albumentations.to_dict(random))
    for copy in (pickled, again):
        random.set_random_seed(5)
        copy.set_random_seed(5)
        assert copy.p == 1
        np.testing.assert_array_equal(copy(image=image)["image"], random(image=image)["image"])

    pipeline = albumentations.ReplayCompose([random])
    found = pipeline(image=image)
    replayed = albumentations.ReplayCompose.replay(found["replay"], image=image)
    np.testing.assert_array_equal(replayed["image"], found["image"])


def test_among_its_own(albumentations, transform):
    pipeline = albumentations.Compose(
        [albumentations.HorizontalFlip(p=1), transform(1, scales=1, iterations=2)], strict=True
    )
    expected = busaug.srad(picture()[:, ::-1], scales=1, iterations=2)[0]
    np.testing.assert_array_equal(pipeline(image=picture())["image"], expected)


def test_bad_input_is_named(transform):
    with pytest.raises(InputError, match="p=2"):
        transform(2)
    with pytest.raises(InputError, match="scales=0"):
        transform(scales=0)
    with pytest.raises(InputError, match="range from"):
        transform(1)(image=np.full((8, 8), 2, np.float32))


def test_without_albumentations_the_remedy_is_told(monkeypatch):
    monkeypatch.delitem(sys.modules, "busaug.training.albumentations", raising=False)
    monkeypatch.setitem(sys.modules, "albumentations.core.transforms_interface", None)
    monkeypatch.setitem(sys.modules, "albumentations", None)
    with pytest.raises(InputError, match=r"needs albumentations.*pip install 'albumentations"):
        import busaug.training.albumentations  # noqa: F401
