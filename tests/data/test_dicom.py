"""DICOM: pixels as a viewer shows them, against files that pydicom writes; nothing of the header
leaves it.
"""

from __future__ import annotations

import importlib.util
import io

import numpy as np
import pytest
from data.miniatures import picture
from PIL import Image
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
)
from tolerances import TOLERANCES

from busaug.data.catalog import Catalog
from busaug.data.images import read_gray, to_float
from busaug.data.ingest import prepare
from busaug.data.readers import choose_reader
from busaug.errors import InputError

GRAY = picture(1)
DEEP = (picture(2, np.uint16) >> 4).astype(np.uint16)  # 12 bits
HUES = np.dstack([picture(3), picture(4), picture(5)])
LUMA = np.array([0.299, 0.587, 0.114])

PERSONAL = {
    "PatientName": "Lovelace^Ada",
    "PatientID": "PID-4711-XYZ",
    "PatientBirthDate": "18151210",
    "InstitutionName": "Saint Elsewhere",
    "ReferringPhysicianName": "Babbage^Charles",
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.4711",
    "AccessionNumber": "ACC0815",
}


def header(pixels, photometric, syntax=ExplicitVRLittleEndian, *, stored=None, frames=None):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    image = Dataset()
    image.file_meta = meta
    image.SOPClassUID, image.SOPInstanceUID = UltrasoundMultiFrameImageStorage, "1.2.3.4"
    image.Modality = "US"
    for name, value in PERSONAL.items():
        setattr(image, name, value)
    shape = pixels.shape[1:] if frames else pixels.shape
    image.Rows, image.Columns = shape[:2]
    image.SamplesPerPixel = 3 if len(shape) == 3 else 1
    if image.SamplesPerPixel == 3:
        image.PlanarConfiguration = 0
    if frames:
        image.NumberOfFrames = frames
    image.PhotometricInterpretation = photometric
    image.BitsAllocated = 8 * pixels.dtype.itemsize
    image.BitsStored = stored or image.BitsAllocated
    image.HighBit = image.BitsStored - 1
    image.PixelRepresentation = int(pixels.dtype.kind == "i")
    return image


def dicom(path, pixels, photometric="MONOCHROME2", syntax=ExplicitVRLittleEndian, *, data=None,
          stored=None, frames=None, **tags):  # fmt: skip
    image = header(pixels, photometric, syntax, stored=stored, frames=frames)
    image.PixelData = pixels.tobytes() if data is None else data
    for name, value in tags.items():
        setattr(image, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(path, image, enforce_file_format=True)
    return path


def near(found, colour):
    assert found.bit_depth == 8
    assert np.abs(found.pixels - colour @ LUMA).max() <= TOLERANCES["luma levels, absolute"]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_monochrome_8_bit_is_exact(tmp_path, syntax):
    found = read_gray(dicom(tmp_path / "a.dcm", GRAY, syntax=syntax))
    np.testing.assert_array_equal(found.pixels, GRAY)
    assert found.burnt_in is None


def test_monochrome1_is_turned_to_white_on_black(tmp_path):
    found = read_gray(dicom(tmp_path / "a.dcm", 255 - GRAY, "MONOCHROME1"))
    np.testing.assert_array_equal(found.pixels, GRAY)
    found = read_gray(dicom(tmp_path / "b.dcm", 4095 - DEEP, "MONOCHROME1", stored=12))
    assert found.bit_depth == 16
    np.testing.assert_array_equal(np.rint(to_float(found) * 4095), DEEP)


def test_12_bits_fill_16_and_come_back(tmp_path):
    overlays = DEEP | 0xA000  # bits above those stored
    for number, pixels in enumerate((DEEP, overlays)):
        found = read_gray(dicom(tmp_path / f"{number}.dcm", pixels, stored=12))
        assert found.bit_depth == 16
        np.testing.assert_array_equal(np.rint(to_float(found) * 4095), DEEP)


def test_of_signed_pixels_the_lowest_is_black(tmp_path):
    pixels = (DEEP.astype(np.int32) - 2048).astype(np.int16)
    found = read_gray(dicom(tmp_path / "a.dcm", pixels, stored=12))
    np.testing.assert_array_equal(np.rint(to_float(found) * 4095), DEEP)


def test_a_window_is_applied_as_the_standard_says(tmp_path):
    tags = {"RescaleSlope": 2, "RescaleIntercept": -100, "WindowCenter": 3000, "WindowWidth": 4000}
    values = DEEP * 2.0 - 100
    linear = np.clip((values - 2999.5) / 3999 + 0.5, 0, 1)
    found = read_gray(dicom(tmp_path / "a.dcm", DEEP, stored=12, **tags))
    np.testing.assert_array_equal(np.rint(to_float(found) * 4095), np.rint(linear * 4095))
    sigmoid = 1 / (1 + np.exp(-4 * (values - 3000) / 4000))
    file = dicom(tmp_path / "b.dcm", DEEP, stored=12, VOILUTFunction="SIGMOID", **tags)
    np.testing.assert_array_equal(
        np.rint(to_float(read_gray(file)) * 4095), np.rint(sigmoid * 4095)
    )


def test_rgb_becomes_luma(tmp_path):
    near(read_gray(dicom(tmp_path / "a.dcm", HUES, "RGB")), HUES)
    planes = HUES.transpose(2, 0, 1)
    file = dicom(tmp_path / "b.dcm", HUES, "RGB", data=planes.tobytes(), PlanarConfiguration=1)
    near(read_gray(file), HUES)


def test_the_luma_of_ybr_is_its_y(tmp_path):
    gray = np.full_like(HUES, 128)
    gray[..., 0] = GRAY
    found = read_gray(dicom(tmp_path / "a.dcm", gray, "YBR_FULL"))
    assert np.abs(found.pixels.astype(int) - GRAY).max() <= 1


def test_jpeg_inside_is_decoded_as_jpeg_outside(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(HUES).save(buffer, "JPEG", quality=95, subsampling="4:2:2")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    data = encapsulate([buffer.getvalue()])
    file = dicom(tmp_path / "a.dcm", HUES, "YBR_FULL_422", JPEGBaseline8Bit, data=data)
    outside = read_gray(tmp_path / "a.jpg").pixels
    inside = read_gray(file).pixels
    assert np.abs(inside.astype(int) - outside).max() <= 2


def test_run_lengths_are_exact(tmp_path):
    image = header(GRAY, "MONOCHROME2")
    image.PixelData = GRAY.tobytes()
    image.compress(RLELossless)
    dcmwrite(tmp_path / "a.dcm", image, enforce_file_format=True)
    np.testing.assert_array_equal(read_gray(tmp_path / "a.dcm").pixels, GRAY)


def test_a_palette_is_looked_up(tmp_path):
    lut = np.arange(256, dtype=np.uint16)[::-1].copy() * 257
    tags = {}
    for name in ("Red", "Green", "Blue"):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tags[f"{name}PaletteColorLookupTableData"] = lut.tobytes()
    found = read_gray(dicom(tmp_path / "a.dcm", GRAY, "PALETTE COLOR", **tags))
    np.testing.assert_array_equal(found.pixels, 255 - GRAY)


def test_a_frame_of_a_loop_is_chosen(tmp_path):
    loop = np.stack([picture(10 + number) for number in range(6)])
    file = dicom(tmp_path / "a.dcm", loop, frames=6)
    for frame, index in (("first", 0), ("middle", 2), ("last", 5), (1, 0), (6, 5)):
        np.testing.assert_array_equal(read_gray(file, frame).pixels, loop[index])
    with pytest.raises(InputError, match="has 6 frames, not a frame 7"):
        read_gray(file, 7)


def test_files_without_suffix_are_known_by_their_content(tmp_path):
    dicom(tmp_path / "benign" / "IM_0001", GRAY)
    dicom(tmp_path / "malignant" / "x.DCM", picture(9))
    (tmp_path / "benign" / "README").write_text("no image")
    found = choose_reader(tmp_path).read(tmp_path)
    assert [f.key for f in found] == ["benign/IM_0001", "malignant/x.DCM"]


def test_no_tag_reaches_an_output_and_burnt_in_is_counted(tmp_path):
    for number in range(4):
        for label in ("benign", "malignant"):
            flag = {"BurnedInAnnotation": "YES"} if number < 2 else {"BurnedInAnnotation": "NO"}
            pixels = picture(20 + number + 10 * (label == "benign"))
            dicom(tmp_path / "in" / label / f"IM{number}.dcm", pixels, **flag)
    (tmp_path / "in" / "benign" / "IM9.dcm").write_bytes(
        (tmp_path / "in" / "benign" / "IM0.dcm").read_bytes()[:1200]
    )
    summary = prepare([tmp_path / "in"], tmp_path / "out")
    assert summary.burnt_in_images == 4
    assert summary.skipped_images == 1
    assert len(Catalog.load(tmp_path / "out").records) == 8
    for file in (tmp_path / "out").rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert not [value for value in PERSONAL.values() if value.encode() in data], file


def damaged(path, **tags):
    return dicom(path, GRAY, **tags)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: dicom(p, GRAY, Rows=65535, Columns=65535), "more than .* pixels"),
        (lambda p: dicom(p, GRAY, Rows=4000, Columns=4000), "cannot be decoded"),
        (lambda p: dicom(p, GRAY, Rows=0), "56x0 px"),
        (lambda p: dicom(p, GRAY, NumberOfFrames=10**9), "cannot be decoded"),
        (lambda p: dicom(p, GRAY, BitsAllocated=32), "8 of 32 bits"),
        (lambda p: dicom(p, GRAY, "XYZ"), "photometric interpretation that is not known"),
        (lambda p: dicom(p, GRAY, VOILUTSequence=[Dataset()]), "needs a look-up table"),
        (lambda p: dicom(p, GRAY, syntax=DeflatedExplicitVRLittleEndian), "deflated"),
        (
            lambda p: dicom(p, GRAY, syntax=JPEGLSLossless, data=encapsulate([b"none"])),
            "compressed as JPEG-LS Lossless.*python-gdcm",
        ),
    ],
    ids=["absurd", "short", "empty", "frames", "bits", "photometric", "tables", "deflated", "ls"],
)
def test_what_cannot_be_shown_is_named(tmp_path, make, message):
    with pytest.raises(InputError, match=message) as caught:
        read_gray(make(tmp_path / "a.dcm"), "last")
    assert str(tmp_path / "a.dcm") in caught.value.what


def test_a_report_without_a_picture_is_named(tmp_path):
    image = header(GRAY, "MONOCHROME2")
    dcmwrite(tmp_path / "a.dcm", image, enforce_file_format=True)
    with pytest.raises(InputError, match="without a picture"):
        read_gray(tmp_path / "a.dcm")


def test_a_missing_library_is_named_with_its_remedy(tmp_path, monkeypatch):
    file = dicom(tmp_path / "a.dcm", GRAY)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pydicom is not installed. pip install 'busaug\[dicom\]"):
        read_gray(file)
