"""The MONAI transform, in a pipeline and a DataLoader of MONAI's own."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

import busaug
from busaug.errors import InputError

pytestmark = pytest.mark.slow  # MONAI takes seconds to import


@pytest.fixture(scope="module")
def transform(monai):
    from busaug.training.monai import RandSradd

    return RandSradd


def item(seed=0):
    image = np.random.default_rng(seed).random((1, 40, 48), dtype=np.float32)
    return {"image": image, "mask": image > 0.5, "label": 1}


def test_images_become_a_scale_and_the_rest_stays(transform):
    data = item()
    found = transform("image", prob=1, scales=3, iterations=2)(data)
    scales = busaug.srad(data["image"], scales=3, iterations=2)
    assert isinstance(found["image"], np.ndarray)
    assert any(np.array_equal(found["image"], scale) for scale in scales)
    np.testing.assert_array_equal(found["mask"], data["mask"])
    assert found["label"] == 1
    np.testing.assert_array_equal(data["image"], item()["image"])
    assert transform("image", prob=0)(data)["image"] is data["image"]


def test_every_scale_is_drawn_and_draws_repeat(transform):
    data = item()
    scales = busaug.srad(data["image"], scales=3, iterations=2)
    random = transform("image", prob=0.5, scales=3, iterations=2)

    def draws():
        random.set_random_state(0)
        images = [random(data)["image"] for _ in range(40)]
        return [[np.array_equal(i, s) for s in scales].index(True) if i is not data["image"] else 3
                for i in images]  # fmt: skip

    first = draws()
    assert set(first) == {0, 1, 2, 3}
    assert draws() == first


def test_metadata_and_keys(monai, transform):
    image = monai.data.MetaTensor(torch.from_numpy(item()["image"]), meta={"filename": "a"})
    found = transform(["image", "other"], prob=1, allow_missing_keys=True)({"image": image})
    assert found["image"].meta["filename"] == "a"
    assert not torch.equal(found["image"].as_tensor(), image.as_tensor())
    with pytest.raises(KeyError):
        transform(["image", "other"], prob=1)({"image": image})


def test_a_pipeline_trains(monai, transform):
    pipeline = monai.transforms.Compose([transform("image", prob=0.5, scales=2, iterations=2)])
    pipeline.set_random_state(0)
    data = monai.data.Dataset([item(seed) for seed in range(8)], pipeline)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(40 * 48, 2))
    optimiser = torch.optim.SGD(model.parameters(), 0.01)
    losses = []
    for _ in range(5):
        for batch in monai.data.DataLoader(data, batch_size=4, num_workers=0):
            loss = torch.nn.functional.cross_entropy(model(batch["image"]), batch["label"])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_workers_and_epochs_draw_differently(monai, transform):
    def epochs():
        pipeline = transform("image", prob=0.9, scales=8, iterations=1)
        data = monai.data.Dataset([item() for _ in range(12)], pipeline)
        torch.manual_seed(0)
        loader = monai.data.DataLoader(data, batch_size=6, num_workers=2)
        return [[batch["image"].flatten(1).mean(1).tolist() for batch in loader] for _ in range(2)]

    first, second = epochs()
    assert first[0] != first[1]
    assert first != second
    assert epochs() == [first, second]


def test_levels_keep_their_dtype(transform):
    image = (item()["image"] * 255).astype(np.uint8)
    found = transform("image", prob=1)({"image": image})["image"]
    assert found.dtype == np.uint8
    assert not np.array_equal(found, image)


def test_bad_input_is_named(transform):
    with pytest.raises(InputError, match="prob=2"):
        transform("image", prob=2)
    with pytest.raises(InputError, match="scales=0"):
        transform("image", scales=0)
    with pytest.raises(InputError, match="image"):
        transform("image", prob=1)({"image": np.full((1, 40, 48), 2.0, np.float32)})


def test_without_monai_the_remedy_is_told(monkeypatch):
    monkeypatch.delitem(sys.modules, "busaug.training.monai", raising=False)
    monkeypatch.setitem(sys.modules, "monai.config", None)
    with pytest.raises(InputError, match=r"needs MONAI.*pip install monai"):
        import busaug.training.monai  # noqa: F401
