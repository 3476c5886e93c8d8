"""Ids and slugs from names that are not trusted."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busaug.data.naming import image_ids, slug

SAFE = re.compile(r"[a-z0-9_-]*")
names = st.text("aZ09 _-./\\():?\0\n~é良ßİ", max_size=90)


@pytest.mark.parametrize(
    ("source", "label", "key", "expected"),
    [
        ("busi_256", "benign", "benign/benign (12).png", "busi_256-benign-0012"),
        ("busi", "malignant", "malignant/IMG 7.tif", "busi-malignant-img-0007"),
        ("set", "benign", "benign/left/scan_3.png", "set-benign-left-scan_0003"),
        ("set", "benign", "benign/benignity.png", "set-benign-benignity"),
    ],
)
def test_ids_read_well(source, label, key, expected):
    assert image_ids([(source, label, key)]) == [expected]


def test_what_collides_gets_a_digest_independent_of_order():
    files = [("s", "c", f"c/{name}.png") for name in ("A 1", "a-01", "b", "良性", "?")]
    ids = image_ids(files)
    assert len(set(ids)) == len(ids)
    assert ids[2] == "s-c-b"
    assert dict(zip(files, ids, strict=True)) == dict(
        zip(files[::-1], image_ids(files[::-1]), strict=True)
    )


@given(names)
def test_slugs_are_safe_file_names(text):
    assert SAFE.fullmatch(slug(text))
    assert len(slug(text)) <= 60
    assert slug(slug(text)) == slug(text)


@given(
    st.lists(st.tuples(names, st.sampled_from(["benign", "m_2"]), names), unique=True, max_size=8)
)
def test_ids_are_unique_and_safe(files):
    ids = image_ids(files)
    assert len(set(ids)) == len(files)
    assert all(SAFE.fullmatch(name) for name in ids)
