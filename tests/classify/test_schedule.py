"""Rates: scaling, warm-up, plateaus; and the end."""

from __future__ import annotations

import pytest

from busaug.classify.schedule import Schedule, scaled_rate
from busaug.config import TrainConfig


@pytest.mark.parametrize(
    ("scaling", "batch", "expected"),
    [
        ("none", 128, 1e-4),
        ("linear", 128, 4e-4),
        ("linear", 8, 2.5e-5),
        ("sqrt", 128, 2e-4),
        ("linear", 32, 1e-4),
    ],
)
def test_rates_scale_with_the_batch(scaling: str, batch: int, expected: float) -> None:
    settings = TrainConfig(batch=batch, learning_rate_scaling=scaling)  # type: ignore[arg-type]
    assert scaled_rate(settings) == pytest.approx(expected)


def test_warm_up_rises_in_equal_steps() -> None:
    schedule = Schedule(rate=0.8)
    assert [schedule.rate_at(update, 4) for update in range(1, 7)] == pytest.approx(
        [0.2, 0.4, 0.6, 0.8, 0.8, 0.8]
    )
    assert schedule.rate_at(1, 0) == 0.8


def run(schedule: Schedule, settings: TrainConfig, losses: list[float]) -> list[float]:
    """The rates before every epoch, as far as it trains."""
    rates = []
    for epoch, loss in enumerate(losses, start=1):
        rates.append(schedule.rate)
        schedule.end_epoch(epoch, loss, settings)
        if schedule.stops_after(epoch, settings):
            break
    return rates


def test_a_better_loss_puts_off_drop_and_stop() -> None:
    settings = TrainConfig(
        learning_rate=1.0, plateau_factor=0.1, plateau_patience=2, patience=3, epochs=99
    )
    losses = [5.0, 6.0, 4.0, 4.0, 4.5, 3.9, 4.0, 4.0, 4.0, 1.0]
    schedule = Schedule(rate=1.0)
    rates = run(schedule, settings, losses)
    # two epochs without a better loss: 4 and 5, 7 and 8; three: 7 to 9
    assert rates == pytest.approx([1, 1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01])
    assert (schedule.best_epoch, schedule.best_loss) == (6, 3.9)


def test_the_rate_never_rises_to_its_minimum() -> None:
    settings = TrainConfig(plateau_patience=1, learning_rate_min=0.5, patience=9)
    assert run(Schedule(rate=0.1), settings, [1.0, 2.0, 2.0]) == [0.1, 0.1, 0.1]


def test_it_is_restored_from_its_row() -> None:
    settings = TrainConfig()
    schedule = Schedule.start(settings)
    for epoch, loss in enumerate([2.0, 1.0, 1.5], start=1):
        schedule.end_epoch(epoch, loss, settings)
    assert Schedule(**schedule.row()) == schedule
