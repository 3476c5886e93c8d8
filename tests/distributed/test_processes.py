"""Two and three real processes: every collective, and training that does not depend on them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from distributed import training, worker
from distributed.launching import LAUNCHERS, WORKER, launch, need
from tolerances import TOLERANCES
from torch import Tensor

from busaug.distributed.communicator import Single

pytestmark = pytest.mark.dist


@dataclasses.dataclass(frozen=True)
class Said:
    """What the ranks of one launch reported, by rank."""

    backend: str
    ranks: list[dict[str, Any]]

    @property
    def size(self) -> int:
        return len(self.ranks)

    def __getitem__(self, key: str) -> list[Any]:
        return [said[key] for said in self.ranks]


def start(launcher: str, size: int, what: str, folder: Path) -> Said:
    need(launcher)
    ended = launch(launcher, size, str(WORKER), what, str(folder))
    assert ended.code == 0, ended.output
    files = [folder / f"rank{rank}.pt" for rank in range(size)]
    said = [torch.load(file, weights_only=False) for file in files]
    return Said(LAUNCHERS[launcher], said)


@pytest.fixture(
    scope="module",
    params=[(launcher, size) for launcher in LAUNCHERS for size in (2, 3)],
    ids=lambda param: f"{param[0]}-{param[1]}",
)
def said(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Said:
    launcher, size = request.param
    return start(launcher, size, "all", tmp_path_factory.mktemp("said"))


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    trained = training.train(training.SmallNet(), Single())
    torch.set_num_threads(threads)
    return trained


def over_ranks(size: int, combine: Callable[[Tensor], Tensor]) -> Tensor:
    """``combine`` of the ranks' tensors, stacked."""
    return combine(torch.stack([torch.arange(6).reshape(2, 3) + 10 * r for r in range(size)]))


def test_every_collective(said: Said) -> None:
    size, talks = said.size, said["converse"]
    assert [talk["place"] for talk in talks] == [(r, size, r, said.backend) for r in range(size)]
    for talk in talks:
        assert talk["gather"] == [{"rank": r, "text": "x" * 1000 * r} for r in range(size)]
        assert talk["object"] == ("from", 1)
        assert talk["empty"] == (0,)
        assert float(talk["scalar"]) == 0.0
        mean = over_ranks(size, lambda x: x.double().mean(dim=0))
        torch.testing.assert_close(talk["mean"], mean)
        assert torch.equal(talk["strided"], over_ranks(size, lambda x: x.sum(dim=0)).T)
        assert "shared by" in talk["shared device"]
        assert "mean of torch.int64" in talk["integer mean"]
        assert "contiguous" in talk["strided broadcast"]
    shares = [[talk["share"][i] for talk in talks] for i in range(3)]
    for count, parts in zip((0, 1, 7), shares, strict=True):
        assert [parts[0][0], parts[-1][1]] == [0, count]
        assert all(left[1] == right[0] for left, right in itertools.pairwise(parts))
        assert max(b - a for a, b in parts) - min(b - a for a, b in parts) <= 1


@pytest.mark.parametrize("dtype", worker.DTYPES, ids=str)
def test_every_dtype(said: Said, dtype: torch.dtype) -> None:
    """Whatever the back end can carry itself: short integers and bfloat16 come back as such."""
    size = said.size
    for talk in said["converse"]:
        ranks = [(torch.arange(6).reshape(2, 3) + 10 * r).to(dtype) for r in range(size)]
        total = torch.stack(ranks).double().sum(dim=0)
        expected = total.bool() if dtype == torch.bool else total.to(dtype)
        assert torch.equal(talk[f"sum {dtype}"], expected)
        assert torch.equal(talk[f"max {dtype}"], ranks[-1])
        assert torch.equal(talk[f"broadcast {dtype}"], ranks[-1])


def test_a_step_that_fails_on_one_rank_fails_on_all(said: Said) -> None:
    last = said.size - 1
    told = [talk["agreed"] for talk in said["converse"]]
    assert told == [f"peer: rank {last} has failed, True"] * last + ["own: the disk is full"]


def test_a_barrier_waits_for_the_last(said: Said) -> None:
    assert all(talk["waited"] > 0.45 for talk in said["converse"])


def test_training_does_not_depend_on_the_number_of_ranks(said: Said, alone: dict[str, Any]) -> None:
    """Equal global batch, equal weights: with empty shares, dropout, BatchNorm and warm-up."""
    tolerance = TOLERANCES["training on p ranks, float64"]
    for trained in said["train"]:
        assert trained["state"].keys() == alone["state"].keys()
        for name, expected in alone["state"].items():
            torch.testing.assert_close(
                trained["state"][name], expected, rtol=tolerance, atol=tolerance, msg=name
            )
        for row, expected in zip(trained["history"], alone["history"], strict=True):
            assert row == pytest.approx(expected, rel=tolerance)
        torch.testing.assert_close(trained["logits"], alone["logits"], rtol=tolerance, atol=0)
    first, *others = said["train"]
    for other in others:
        assert other["history"] == first["history"]
        assert all(
            torch.equal(first["state"][name], other["state"][name]) for name in alone["state"]
        )


def test_training_goes_on_from_rank_0s_checkpoint(said: Said) -> None:
    for trained, resumed in zip(said["train"], said["resumed"], strict=True):
        for name, expected in trained["state"].items():
            assert torch.equal(resumed["state"][name], expected), name


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_the_classifier_does_not_depend_on_the_number_of_ranks(
    launcher: str, tmp_path: Path
) -> None:
    """All of ResNet-50; statistics of two values a channel amplify what rounding differs in."""
    said = start(launcher, 2, "classifier", tmp_path)
    torch.set_num_threads(1)
    alone = training.train(training.classifier(), Single(), training.GENTLE)["state"]
    tolerance = TOLERANCES["resnet on p ranks, float64 of the largest"]
    for trained in said["train"]:
        for name, expected in alone.items():
            found, expected = trained["state"][name].double(), expected.double()
            assert float((found - expected).abs().max() / expected.abs().max()) < tolerance, name
