"""From the jobs of an experiment to its figures: everything that a table shows, and no more."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from busaug import __version__
from busaug.classify.metrics import METRICS, score
from busaug.errors import InputError
from busaug.experiment.claims import CLAIMS, Claim, verdict
from busaug.experiment.curves import mean_history, mean_roc
from busaug.experiment.results import Condition, Experiment, JobResult
from busaug.experiment.statistics import (
    LEVEL,
    REPLICATES,
    Estimate,
    Resampling,
    Sample,
    corrected_t_test,
    difference,
    holm,
    permutation_tests,
    sample,
)

FORMAT = "busaug results 1"
BASELINE = "none"
_DIGITS = 6

Row = dict[str, Any]
Jobs = Sequence[JobResult]


def summarise(
    experiment: Experiment, *, baseline: str = BASELINE, replicates: int = REPLICATES
) -> Row:
    """Plain values for JSON: a row a condition, comparison, leak and claim.

    Figures are rounded to six digits behind the point. Raises InputError where the baseline is
    missing or a group is in two classes.
    """
    jobs = experiment.jobs
    if not any(condition.arm == baseline for condition in jobs):
        arms = ", ".join(dict.fromkeys(condition.arm for condition in jobs))
        raise InputError(
            f"there is no job of the baseline {baseline!r}", remedy=f"Name one of {arms}"
        )
    resampling = Resampling(_groups(experiment), replicates=replicates)
    samples = {key: sample([job.predictions for job in jobs[key]], resampling) for key in jobs}
    return {
        "format": FORMAT,
        "busaug": __version__,
        "experiment": dict(experiment.facts),
        "classes": list(experiment.classes),
        "baseline": baseline,
        "interval": {"level": LEVEL, "replicates": replicates, "groups": len(resampling)},
        "made": [dict(row) for row in experiment.made],
        "conditions": [
            _condition(key, jobs[key], samples[key], experiment.classes) for key in jobs
        ],
        "comparisons": _comparisons(
            jobs, samples, {key.arm: baseline for key in jobs if key.arm != baseline}, resampling
        ),
        "contrasts": _comparisons(jobs, samples, _contrasts(experiment), resampling),
        "leaks": _leaks(samples),
        "claims": [_claim(claim, jobs, samples) for claim in CLAIMS if _has(claim, samples)],
    }


def _groups(experiment: Experiment) -> dict[str, int]:
    classes: dict[str, int] = {}
    for jobs in experiment.jobs.values():
        for job in jobs:
            pairs = zip(job.predictions.groups, job.predictions.truth.tolist(), strict=True)
            for group, label in pairs:
                if classes.setdefault(group, label) != label:
                    raise InputError(
                        f"group {group} is in two classes", remedy="Make the Catalog anew"
                    )
    return classes


def _condition(key: Condition, jobs: Jobs, found: Sample, classes: Sequence[str]) -> Row:
    count = len(classes)
    confusion = np.zeros((count, count), np.int64)
    undefined: dict[str, Counter[str]] = {}
    for index, job in enumerate(jobs):
        said = job.predictions
        np.add.at(confusion, (said.truth, said.probability.argmax(axis=1)), 1)
        if any(math.isnan(found.values[name][index]) for name in METRICS):
            scores = score(said.truth.tolist(), said.probability, classes)
            for name, reason in scores.undefined.items():
                undefined.setdefault(name, Counter())[reason] += 1
    return {
        **dataclasses.asdict(key),
        "jobs": len(jobs),
        "folds": len({job.fold for job in jobs}),
        "seeds": len({job.seed for job in jobs}),
        "tested": sum(len(job.predictions) for job in jobs),
        "confusion": confusion.tolist(),
        "metrics": {name: _row(found.estimate(name)) for name in METRICS},
        "undefined": {name: dict(reasons) for name, reasons in undefined.items()},
        "roc": mean_roc(job.predictions for job in jobs),
        "history": mean_history(job.history for job in jobs),
    }


def _contrasts(experiment: Experiment) -> dict[str, str]:
    """Arms with the arm that their configuration compares each with."""
    arms: Mapping[str, Mapping[str, Any] | None] = experiment.facts.get("arms", {})
    return {name: row["against"] for name, row in arms.items() if row and row.get("against")}


def _comparisons(
    jobs: Mapping[Condition, Jobs],
    samples: Mapping[Condition, Sample],
    against: Mapping[str, str],
    resampling: Resampling,
) -> list[Row]:
    """Arms against others of their budget and protocol, where both did the same jobs."""
    rows = []
    for key in jobs:
        base = _only(against[key.arm], key, jobs) if key.arm in against else None
        if base is None or not _paired(jobs[key], jobs[base]):
            continue
        metrics = {}
        ratio = _test_to_train(jobs[key])
        permuted = permutation_tests(
            [job.predictions for job in jobs[key]],
            [job.predictions for job in jobs[base]],
            resampling,
        )
        for name in METRICS:
            apart = samples[key].values[name] - samples[base].values[name]
            test = corrected_t_test(apart, ratio)
            metrics[name] = {
                **_row(difference(samples[key], samples[base], name)),
                "t": _short(test.t),
                "degrees": test.degrees,
                "p": _short(test.p),
                "p_permutation": _short(permuted[name]),
            }
        rows.append({**dataclasses.asdict(key), "against": base.arm, "metrics": metrics})
    for family in {(row["budget"], row["protocol"]): None for row in rows}:
        members = [row for row in rows if (row["budget"], row["protocol"]) == family]
        for name in METRICS:
            for kind in ("p", "p_permutation"):
                adjusted = holm([row["metrics"][name][kind] for row in members])
                for row, p in zip(members, adjusted, strict=True):
                    row["metrics"][name][f"{kind}_holm"] = _short(p)
    return rows


def _only(arm: str, like: Condition, keys: Mapping[Condition, Any]) -> Condition | None:
    """The arm under the budget and protocol of ``like``: the same ratio, or the only one."""
    found = [k for k in keys if (k.budget, k.protocol, k.arm) == (like.budget, like.protocol, arm)]
    same = [key for key in found if key.ratio == like.ratio]
    return same[0] if same else found[0] if len(found) == 1 else None


def _paired(one: Jobs, other: Jobs) -> bool:
    """Whether the jobs have the same folds, seeds and test images."""
    return [(job.turn, job.predictions.ids) for job in one] == [
        (job.turn, job.predictions.ids) for job in other
    ]


def _test_to_train(jobs: Jobs) -> float:
    return sum(len(job.predictions) for job in jobs) / sum(job.train for job in jobs)


def _leaks(samples: Mapping[Condition, Sample]) -> list[Row]:
    """The paper's protocol less the honest one, on the same images."""
    rows = []
    for key in samples:
        if key.protocol != "paper":
            continue
        honest = _only(key.arm, dataclasses.replace(key, protocol="honest"), samples)
        if honest is None:
            continue
        metrics = {
            name: {
                "paper": _row(samples[key].estimate(name)),
                "honest": _row(samples[honest].estimate(name)),
                "gap": _row(difference(samples[key], samples[honest], name, paired=False)),
            }
            for name in METRICS
        }
        rows.append({"budget": key.budget, "arm": key.arm, "ratio": key.ratio, "metrics": metrics})
    return rows


def _has(claim: Claim, samples: Mapping[Condition, Sample]) -> bool:
    arms = {key.arm for key in samples}
    return claim.arm in arms and (claim.against is None or claim.against in arms)


def _claim(
    claim: Claim, jobs: Mapping[Condition, Jobs], samples: Mapping[Condition, Sample]
) -> Row:
    """Ours at ratio 1 (or the only one), of the first budget that has it."""
    ours: dict[str, Estimate | None] = {}
    for protocol in ("paper", "honest"):
        ours[protocol] = None
        for budget in dict.fromkeys(key.budget for key in samples):
            like = Condition(budget, protocol, claim.arm, 1.0)
            one = _only(claim.arm, like, samples)
            if one is None:
                continue
            if claim.against is None:
                ours[protocol] = samples[one].estimate(claim.metric)
                break
            other = _only(claim.against, like, samples)
            if other is not None:
                paired = _paired(jobs[one], jobs[other])
                ours[protocol] = difference(
                    samples[one], samples[other], claim.metric, paired=paired
                )
                break
    return {
        "claim": claim.text,
        "printed": claim.printed,
        "remark": claim.remark,
        "gain": claim.against is not None,
        **{name: None if found is None else _row(found) for name, found in ours.items()},
        "verdict": verdict(claim, ours["paper"], ours["honest"]),
    }


def _row(estimate: Estimate) -> Row:
    row = dataclasses.asdict(estimate)
    return {key: _short(value) if isinstance(value, float) else value for key, value in row.items()}


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
