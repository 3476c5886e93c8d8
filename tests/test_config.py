"""Configuration: precedence, ranges, names, hashes."""

from pathlib import Path

import pytest

from busaug.config import Config, canonical_hash, load_config, to_yaml
from busaug.errors import InputError
from busaug.presets import PRESETS


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("style: {gamma: 7, iterations: 20}\n")
    config = load_config(file, preset="paper", overrides=["style.gamma=9"])
    assert (config.style.gamma, config.style.iterations) == (9.0, 20)
    assert config.plan.pairs == "all"


def test_the_paper_preset() -> None:
    config = load_config(preset="paper")
    assert (config.style.iterations, config.plan.pairs) == (1000, "all")
    assert PRESETS["paper"] == {"style": {"iterations": 1000}, "plan": {"pairs": "all"}}


def test_documented_defaults() -> None:
    style = Config().style
    assert (style.size, style.iterations, style.fusion, style.references) == (224, 150, "FM", 4)
    assert Config().plan.contents is None
    assert Config().plan.pairs == 1


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("style.gama=1", r"unknown config field style\.gama.*gamma"),
        ("nonsense=1", "unknown config field nonsense"),
        ("style.gamma=-1", r"style\.gamma=-1"),
        ("style.gamma=.nan", r"style\.gamma=nan"),
        ("style.size=12", r"style\.size=12"),
        ("style.fusion=XX", r"style\.fusion='XX'"),
        ("srad.q0=[1,2]", "srad.q0"),
        ("style.fusion=SR", r"style\.references=1"),
        ("style", "not of the form"),
        ("style=3", "style"),
    ],
)
def test_bad_values_are_named(override: str, match: str) -> None:
    with pytest.raises(InputError, match=match):
        load_config(overrides=[override])


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", "\x00"])
def test_bad_files_are_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=r"bad\.yaml"):
        load_config(file)


def test_missing_files_and_presets_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="'nope'"):
        load_config(preset="nope")


def test_hash_is_of_the_values_not_of_their_order() -> None:
    one = load_config(overrides=["style.gamma=5", "seed=1"])
    two = load_config(overrides=["seed=1", "style.gamma=5.0"])
    assert canonical_hash(one.sections("style")) == canonical_hash(two.sections("style"))
    assert canonical_hash(one.sections("style")) != canonical_hash(Config().sections("style"))


def test_printed_settings_can_be_read_back(tmp_path: Path) -> None:
    config = load_config(preset="paper", overrides=["srad.q0=[1,2,3,4]", "style.gamma=1e-3"])
    (tmp_path / "c.yaml").write_text(to_yaml(config))
    assert load_config(tmp_path / "c.yaml") == config
    assert "# " in to_yaml(config)
