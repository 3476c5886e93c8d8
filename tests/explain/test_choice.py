"""Which class is explained: names, numbers, words, and what the network does not have."""

from __future__ import annotations

import dataclasses

import pytest
from augment.conftest import make_record

from busaug.errors import InputError
from busaug.explain.choice import choose_class
from busaug.explain.predictor import Predictor
from busaug.models.classifier import ClassifierInfo
from busaug.models.resnet import BasicBlock, ResNet
from busaug.models.vgg import VGG


def predictor(*names: str, logits: int = 3) -> Predictor:
    """Of a network with these classes, or of one without names."""
    model = ResNet(len(names) or logits, block=BasicBlock, depths=(1, 1, 1, 1))
    info = ClassifierInfo(classes=names, size=32, srad_scale=0) if names else None
    return Predictor(model, info, "net", "0" * 64)


RECORD = make_record(0, "malignant", "test")


@pytest.mark.parametrize(
    ("names", "text", "index"),
    [
        (("benign", "malignant"), None, 1),
        (("benign", "malignant"), "true", 1),
        (("benign", "malignant"), "predicted", None),
        (("benign", "malignant"), "benign", 0),
        (("benign", "malignant"), "1", 1),
        ((), None, None),
        ((), "predicted", None),
        ((), "2", 2),
        ((), "002", 2),
        (("1", "0", "malignant"), "0", 1),  # a name before a number
        (("predicted", "malignant"), "predicted", 0),  # and before a word
    ],
)
def test_a_text_names_one_logit(
    names: tuple[str, ...], text: str | None, index: int | None
) -> None:
    assert choose_class(text, predictor(*names))(RECORD) == index


@pytest.mark.parametrize("text", ["Malignant", "2", "-1", "+1", "1_0", "\u0661", "", " 1", "1e0"])
def test_an_unknown_class_is_named_and_the_known_ones_told(text: str) -> None:
    with pytest.raises(InputError) as caught:
        choose_class(text, predictor("benign", "malignant"))
    assert f"net has no class {text!r}" in caught.value.what
    told = "Use benign, malignant, a number from 0 to 1, true or predicted"
    assert caught.value.remedy == told


def test_without_names_a_number_is_asked_for() -> None:
    with pytest.raises(InputError, match="no class 'benign'") as caught:
        choose_class("benign", predictor())
    assert caught.value.remedy == "Use a number from 0 to 2 or predicted"
    with pytest.raises(InputError, match="no names of classes"):
        choose_class("true", predictor())


def test_of_many_classes_the_first_are_told() -> None:
    with pytest.raises(InputError) as caught:
        choose_class("x", predictor(*(f"class-{index}" for index in range(40))))
    assert "class-11, ..., a number from 0 to 39" in caught.value.remedy
    assert "class-12" not in caught.value.remedy


def test_an_image_of_another_class_needs_a_choice() -> None:
    """A true class that the network lacks is an error; a named or predicted one needs none."""
    known = predictor("cyst", "solid")
    with pytest.raises(InputError, match="of class 'malignant', unknown to net"):
        choose_class(None, known)(RECORD)
    assert choose_class("solid", known)(RECORD) == 1
    assert choose_class("predicted", known)(RECORD) is None


def test_logits_are_counted_in_any_network() -> None:
    assert predictor(logits=7).classes == 7
    assert predictor("a", "b").classes == 2
    vgg = dataclasses.replace(predictor(), model=VGG([[4], [6]], 5))
    assert vgg.classes == 5
