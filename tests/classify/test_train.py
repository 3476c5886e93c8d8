"""Training: repeatable, learns, stops, leaves nothing half-written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tolerances import TOLERANCES
from torch import Tensor, nn

from busaug.classify.batches import minibatches, shuffled
from busaug.classify.checkpoint import Checkpoint, Snapshot
from busaug.classify.evaluate import evaluate
from busaug.classify.fit import fit
from busaug.classify.inputs import ImageSet
from busaug.classify.replica import Replica
from busaug.classify.train import start_model, train
from busaug.config import Config, load_config
from busaug.data.catalog import Catalog
from busaug.data.ingest import prepare
from busaug.distributed.communicator import Single
from busaug.errors import InputError, OutputError
from busaug.files import read_json, read_jsonl
from busaug.models.classifier import ClassifierInfo, load_classifier
from busaug.models.preprocess import imagenet_normalise
from busaug.models.weights import Weights, resolve_weights

FILES = {"model.safetensors", "history.jsonl", "metrics_val.json", "run.json"}


def with_settings(config: Config, **changes: object) -> Config:
    return config.model_copy(update={"train": config.train.model_copy(update=changes)})


def images_of(count: int, *, shift: float = 0.0) -> ImageSet:
    """Dark images of class 0 and bright ones of class 1, in turn."""
    generator = torch.Generator().manual_seed(count)
    targets = torch.arange(count) % 2
    levels = 0.3 + 0.4 * targets.float() + shift
    images = levels.view(-1, 1, 1, 1) + 0.02 * torch.randn(count, 1, 8, 8, generator=generator)
    return ImageSet(tuple(f"image-{i:03d}" for i in range(count)), images, targets, ())


class Linear(nn.Module):
    """Mean gray value to two logits."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layer = nn.Linear(3, 2)
        self.dropout = nn.Dropout(0.2)
        self.batches: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.batches.append(len(x))
        logits: Tensor = self.layer(self.dropout(x.mean(dim=(2, 3))))
        return logits


def test_same_configuration_gives_the_same_bytes(
    catalog: Catalog, config: Config, weights: Weights, tmp_path: Path
) -> None:
    for index, noise in enumerate((1, 2)):
        torch.manual_seed(noise)  # the global generator must not matter, nor be moved
        before = torch.get_rng_state()
        train(catalog, tmp_path / f"run-{index}", config, weights)
        assert torch.equal(torch.get_rng_state(), before)
    first, second = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()}
        for name in ("run-0", "run-1")
    )
    assert first.keys() == FILES
    assert first == second


def test_the_threshold_is_the_validation_images_best(
    catalog: Catalog, config: Config, weights: Weights, tmp_path: Path
) -> None:
    train(catalog, tmp_path / "run", with_settings(config, sensitivity_min=1.0), weights)
    _, info = load_classifier(tmp_path / "run")
    row = read_json(tmp_path / "run" / "metrics_val.json")
    positive = {True: [], False: []}  # type: ignore[var-annotated]
    for said in row["predictions"]:
        positive[said["class"] == "malignant"].append(said["probability"]["malignant"])
    assert info.threshold is not None
    assert info.threshold < min(positive[True])
    assert row["operating_point"]["threshold"] == info.threshold
    assert row["operating_point"]["metrics"]["sensitivity"] == 1.0
    between = [p for p in positive[False] if info.threshold < p < min(positive[True])]
    assert between == []  # no higher threshold has more specificity


def test_another_seed_gives_other_weights(
    catalog: Catalog, config: Config, weights: Weights
) -> None:
    info = ClassifierInfo(catalog.labels, size=32, srad_scale=0)
    heads = [start_model(info, weights, seed).state_dict()["fc.2.weight"] for seed in (0, 0, 1)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_resnet_learns_what_anyone_can_tell_apart(
    catalog: Catalog, config: Config, weights: Weights, tmp_path: Path
) -> None:
    config = with_settings(config, epochs=3, learning_rate=0.01)
    summary = train(catalog, tmp_path / "run", config, weights)
    row = read_json(tmp_path / "run" / "metrics_val.json")
    assert row["metrics"]["accuracy"] == 1.0
    assert row["confusion"] == [[2, 0], [0, 2]]
    assert [p["id"] for p in row["predictions"]] == [r.id for r in catalog.split("val").records]
    assert summary["updates"] == 3 * 2
    assert summary["pretrained"] is False
    assert summary["images"]["train"] == {"benign": 4, "malignant": 4}
    history = read_jsonl(tmp_path / "run" / "history.jsonl")
    assert [set(r) for r in history] == 3 * [
        {"epoch", "train_loss", "val_loss", "val_accuracy", "lr", "updates"}
    ]
    model, info = load_classifier(tmp_path / "run")
    assert info.classes == ("benign", "malignant")
    assert info.srad == config.srad
    assert not model.training


def test_mixed_precision_takes_nearly_the_same_step_with_float32_parameters(
    config: Config, weights: Weights
) -> None:
    images = images_of(8)
    info = ClassifierInfo(("dark", "bright"), 32, 0, config.srad, 0.0, "random")
    steps = {}
    for precision in ("single", "mixed"):
        model = start_model(info, weights, seed=0)
        before = model.fc[-1].weight.detach().clone()
        replica = Replica(model, with_settings(config, precision=precision), Single())
        replica.update(images, torch.arange(8), epoch=1, rate=0.1)
        steps[precision] = model.fc[-1].weight.detach() - before
        assert {p.dtype for p in model.parameters()} == {torch.float32}
    away = (steps["mixed"] - steps["single"]).norm() / steps["single"].norm()
    assert 0 < away < TOLERANCES["bfloat16 training step, L2"]


def test_trunk_weights_are_loaded_and_a_foreign_head_is_not(
    catalog: Catalog, weights: Weights
) -> None:
    given = dataclasses.replace(weights, pretrained=True)
    info = ClassifierInfo(catalog.labels, size=32, srad_scale=0)
    state = start_model(info, given, 0).state_dict()
    trunk = {key for key in given.state if not key.startswith("fc.")}
    assert trunk == {key for key in state if not key.startswith("fc.")}
    assert all(torch.equal(state[key], given.state[key]) for key in trunk)
    assert state["fc.2.weight"].shape == (2, 2048)


def test_best_epoch_is_restored_and_training_stops(config: Config) -> None:
    """Validation classes are the reverse, so every epoch after the first is worse."""
    val = images_of(8)
    val = dataclasses.replace(val, targets=1 - val.targets)
    config = with_settings(
        config, epochs=40, patience=5, plateau_patience=2, learning_rate=0.5, batch=8
    )
    model = Linear()
    result = fit(model, shuffled(images_of(16), 8, 0), val, config)
    losses = [row["val_loss"] for row in result.history]
    assert result.best_epoch == 1
    assert len(losses) == 1 + 5
    assert losses[0] == min(losses)
    with torch.no_grad():
        logits = model(imagenet_normalise(val.images))
    assert float(nn.functional.cross_entropy(logits, val.targets)) == pytest.approx(losses[0])
    # epochs 2 and 3 are worse, so that the fourth has a lower rate, and the sixth again
    rates = [row["lr"] for row in result.history]
    assert rates == pytest.approx([0.5, 0.5, 0.5, 0.1, 0.1, 0.02])


def test_rate_does_not_fall_below_its_minimum(config: Config) -> None:
    val = dataclasses.replace(images_of(4), targets=torch.tensor([1, 0, 1, 0]))
    config = with_settings(
        config, epochs=6, plateau_patience=1, learning_rate=0.5, learning_rate_min=0.2
    )
    result = fit(Linear(), shuffled(images_of(8), 8, 0), val, config)
    assert result.history[-1]["lr"] == 0.2


def test_every_image_is_seen_once_an_epoch(config: Config) -> None:
    model = Linear()
    result = fit(
        model, shuffled(images_of(13), 4, 0), images_of(4), with_settings(config, epochs=2)
    )
    assert model.batches == 2 * [4, 4, 5]  # a thirteenth image alone has no batch statistics
    assert result.updates == 6


def test_minibatches_keep_all() -> None:
    assert [part.tolist() for part in minibatches(torch.arange(5), 2)] == [[0, 1], [2, 3, 4]]
    assert [part.tolist() for part in minibatches(torch.arange(6), 4)] == [[0, 1, 2, 3], [4, 5]]
    assert [part.tolist() for part in minibatches(torch.arange(1), 4)] == [[0]]


def test_divergence_is_an_error_that_leaves_nothing(
    catalog: Catalog, config: Config, weights: Weights, tmp_path: Path
) -> None:
    config = with_settings(config, epochs=2, learning_rate=1e30, warmup_epochs=1)
    with pytest.raises(InputError, match=r"diverged in epoch 1.*Lower train\.learning_rate"):
        train(catalog, tmp_path / "out" / "run", config, weights)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Interrupt the training after so many checkpoints; 0 for never."""
    save = Checkpoint.save

    def stop(after: int) -> None:
        saved = 0

        def counted(self: Checkpoint, snapshot: Snapshot) -> None:
            nonlocal saved
            save(self, snapshot)
            saved += 1
            if saved == after:
                raise KeyboardInterrupt

        monkeypatch.setattr(Checkpoint, "save", counted)

    return stop


def test_an_interrupted_training_goes_on_to_the_same_bytes(
    catalog: Catalog,
    config: Config,
    weights: Weights,
    tmp_path: Path,
    stop_after: Callable[[int], None],
) -> None:
    """Stopped after two of three epochs; momentum, rate, best epoch and statistics go on."""
    config = with_settings(config, epochs=3, learning_rate=0.05, plateau_patience=1, dropout=0.2)
    train(catalog, tmp_path / "whole", config, weights)
    stop_after(2)
    with pytest.raises(KeyboardInterrupt):
        train(catalog, tmp_path / "run", config, weights)
    assert not (tmp_path / "run").exists()
    assert (tmp_path / ".run.checkpoint").is_file()
    (tmp_path / "..run.checkpoint.killed.part").touch()
    stop_after(0)
    train(catalog, tmp_path / "run", config, weights, resume="always")
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []
    for name in FILES:
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_checkpoint_of_another_run_is_refused(
    catalog: Catalog,
    config: Config,
    weights: Weights,
    tmp_path: Path,
    stop_after: Callable[[int], None],
) -> None:
    longer = with_settings(config, epochs=2)
    with pytest.raises(InputError, match="no interrupted training"):
        train(catalog, tmp_path / "run", longer, weights, resume="always")
    stop_after(1)
    with pytest.raises(KeyboardInterrupt):
        train(catalog, tmp_path / "run", longer, weights)
    other = with_settings(longer, momentum=0.5)
    with pytest.raises(OutputError, match=r"config\.train\.momentum: 0\.9 there, 0\.5 here"):
        train(catalog, tmp_path / "run", other, weights)
    checkpoint = tmp_path / ".run.checkpoint"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"cannot be read.*Discard it with --resume never"):
        train(catalog, tmp_path / "run", longer, weights)
    stop_after(0)
    train(catalog, tmp_path / "run", with_settings(other, epochs=1), weights, resume="never")
    assert not checkpoint.exists()


def test_a_folder_in_use_is_refused_before_any_work(
    catalog: Catalog, config: Config, weights: Weights, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="not an empty folder"):
        train(catalog, tmp_path / "run", config, weights)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


@pytest.mark.real
@pytest.mark.slow
def test_imagenet_weights_learn_real_images(
    busi_256: Path, resnet50_weights: Path, tmp_path: Path
) -> None:
    """Some epochs on a sixth of BUSI at 96 px rank unseen images better than chance."""
    prepare([busi_256], tmp_path / "all")
    full = Catalog.load(tmp_path / "all")
    some = Catalog(full.root, full.records[::6])
    config = load_config(
        overrides=[
            "train.size=96",
            "train.epochs=5",
            "train.batch=16",
            "train.learning_rate=3e-3",
            "compute.threads=1",
        ]
    )
    train(some, tmp_path / "run", config, resolve_weights(str(resnet50_weights)))
    history = read_jsonl(tmp_path / "run" / "history.jsonl")
    assert history[-1]["train_loss"] < 0.7 * history[0]["train_loss"]
    unseen = some.where(lambda record: record.split != "train")
    records = tuple(dataclasses.replace(record, split="test") for record in unseen.records)
    result = evaluate(tmp_path / "run", Catalog(some.root, records), "test")
    assert result.scores.n == len(records)
    assert (result.scores.metrics["auc"] or 0) > 0.65
