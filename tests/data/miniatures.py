"""Small copies of the public data sets: names, separators, encodings and mask conventions theirs,
pixels made up. Each function fills a folder and returns it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openpyxl
from PIL import Image
from scipy.io import savemat
from scipy.ndimage import gaussian_filter

LABELS = ("benign", "malignant")


def picture(seed, dtype=np.uint8, shape=(48, 56)):
    smooth = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 3)
    full = np.iinfo(dtype).max
    return (full * (smooth - smooth.min()) / np.ptp(smooth)).astype(dtype)


def put(path: Path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def spot(top=10, left=12, shape=(48, 56), level=255):
    """A lesion mask of 12 x 12 pixels."""
    mask = np.zeros(shape, np.uint8)
    mask[top : top + 12, left : left + 12] = level
    return mask


def colour(gray):
    return np.dstack([gray] * 3)


def opaque(gray):
    return np.dstack([gray] * 3 + [np.full_like(gray, 255)])


def workbook(path: Path, sheets):
    """An .xlsx file of {sheet name: rows}."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)


def busi(root: Path) -> Path:
    """Three-channel PNG files; a second lesion; black masks for normal images."""
    inner = root / "Dataset_BUSI_with_GT"
    for start, label in ((0, "benign"), (100, "malignant"), (200, "normal")):
        for number in range(1, 5):
            stem = inner / label / f"{label} ({number})"
            put(stem.with_name(f"{stem.name}.png"), colour(picture(start + number)))
            level = 0 if label == "normal" else 255
            put(stem.with_name(f"{stem.name}_mask.png"), spot(level=level))
    put(inner / "benign" / "benign (1)_mask_1.png", spot(top=30, left=40))
    return root


def curated_busi(root: Path) -> Path:
    inner = root / "Curated BUSI"
    rows = ["class;id"]
    for start, label in ((0, "benign"), (100, "malignant"), (200, "normal")):
        for number in (3, 20, 101, 437):
            put(inner / "images" / f"{label}_id_{number}.png", picture(1000 + start + number))
            put(inner / "masks" / f"{label}_id_{number}_mask.png", spot())
            rows.append(f"{label};{number}")
    (inner / "mapping.csv").write_text("\n".join(rows))
    return root


def udiat(root: Path) -> Path:
    """Types with capitals and blanks; the image column holds numbers."""
    rows = [("Image", "Type")]
    for number in range(1, 11):
        put(root / "original" / f"{number:06d}.png", picture(2000 + number))
        put(root / "GT" / f"{number:06d}.png", spot())
        rows.append((number, "Benign " if number <= 6 else "Malignant"))
    workbook(root / "DatasetB.xlsx", {"Sheet1": rows})
    return root


def bus_bra(root: Path) -> Path:
    """Two sides a case; folds with NaN for the held-out images; one mask of another size."""
    inner = root / "BUSBRA"
    data = ["ID,Case,Histology,Pathology,BIRADS,Device,Width,Height,Side,BBOX"]
    folds = {5: ["ID,Pathology,kFold,valid_1"], 10: ["ID,Pathology,kFold,valid_1"]}
    for case in range(1, 9):
        for side in "lr":
            name, label = f"bus_{case:04d}-{side}", LABELS[case % 2]
            put(inner / "Images" / f"{name}.png", picture(3000 + 2 * case + (side == "r")))
            put(inner / "Masks" / f"mask_{case:04d}-{side}.png", spot())
            data.append(
                f'{name},{case},Fibroadenoma,{label},3,"GE, Logiq 5",56,48,{side},"[1,2,3,4]"'
            )
            for count, rows in folds.items():
                fold = (case - 1) % count + 1
                rows.append(f"{name},{label},{fold},{'NaN' if fold == 1 else '0'}")
    put(inner / "Masks" / "mask_0008-r.png", spot(shape=(40, 56)))
    (inner / "bus_data.csv").write_text("\n".join(data))
    for count, rows in folds.items():
        (inner / f"{count}-fold-cv.csv").write_text("\n".join(rows))
    return root


def breast(root: Path) -> Path:
    """RGBA files; several masks joined by ``&``; the truncated sheet name; a normal case."""
    images = root / "BrEaST-Lesions_USG-images_and_masks"
    rows = [
        ("CaseID", "Image_filename", "Mask_tumor_filename", "Mask_other_filename", "Pixel_size",
         "Age", "Tissue_composition", "BIRADS", "Verification", "Diagnosis", "Classification")
    ]  # fmt: skip
    for case in range(1, 11):
        name = f"case{case:03d}"
        put(images / f"{name}.png", opaque(picture(4000 + case)))
        label = "normal" if case == 10 else LABELS[case % 2]
        tumour = other = None
        if label != "normal":
            tumour = f"{name}_tumor.png"
            put(images / tumour, opaque(spot()))
        if case == 3:
            other = f"{name}_other1.png&{name}_other2.png"
            put(images / f"{name}_other1.png", opaque(spot(top=30)))
            put(images / f"{name}_other2.png", opaque(spot(top=30, left=40)))
        rows.append((case, f"{name}.png", tumour, other, 0.007, "not available", "fat", "4a",
                     "confirmed by biopsy", "cyst", label))  # fmt: skip
    file = root / "BrEaST-Lesions-USG-clinical-data-Dec-15-2023.xlsx"
    workbook(file, {"Legend": [("Column", "Meaning")], "BrEaST-Lesions-USG clinical dat": rows})
    return root


def bus_uclm(root: Path) -> Path:
    """Semicolons; coloured masks; Doppler and combined frames flagged."""
    inner = root / "BUS-UCLM"
    rows = ["Image;Resolution;Label;Doppler;Marks;Combined"]
    hues = {"Benign": (0, 255, 0), "Malignant": (255, 0, 0), "Normal": (0, 0, 0)}
    seed = 5000
    for patient, label in (("ANFO", "Benign"), ("COPE", "Malignant"), ("ELCO", "Benign"),
                           ("CRCI", "Malignant"), ("FLKA", "Benign"), ("LUAN", "Malignant"),
                           ("MAMU", "Normal")):  # fmt: skip
        for number in range(3):
            seed += 1
            name = f"{patient}_{number:03d}"
            put(inner / "images" / f"{name}.png", colour(picture(seed)))
            mask = np.where(spot()[..., None] > 0, np.array(hues[label]), 0).astype(np.uint8)
            put(inner / "masks" / f"{name}.png", mask)
            doppler = "Yes" if (patient, number) == ("ANFO", 2) else "No"
            combined = "Yes" if (patient, number) in (("COPE", 1), ("COPE", 2)) else "No"
            rows.append(f"{name}.png;56x48;{label};{doppler};No;{combined}")
    (inner / "INFO.csv").write_bytes("\r\n".join(rows).encode("utf-8-sig"))
    return root


def breastmnist(root: Path, side=64) -> Path:
    """0 is malignant; a near-duplicate lies across the given splits."""
    arrays, seed = {}, 6000
    for split, count in (("train", 12), ("val", 4), ("test", 5)):
        images = [picture(seed + number, shape=(side, side)) for number in range(count)]
        seed += count
        arrays[f"{split}_images"] = np.stack(images)
        arrays[f"{split}_labels"] = np.array([[n % 2] for n in range(count)], np.uint8)
    twin = np.clip(arrays["train_images"][2].astype(int) + 3, 0, 255).astype(np.uint8)
    arrays["test_images"][0] = twin
    root.mkdir(parents=True, exist_ok=True)
    name = "breastmnist.npz" if side == 28 else f"breastmnist_{side}.npz"
    np.savez_compressed(root / name, **arrays)
    return root


def rf_lines(seed, shape=(480, 64)):
    """Echoes of a carrier at a quarter of the sampling rate whose envelope is known, and that."""
    envelope = 10 ** (-1.5 * (1 - picture(seed, shape=shape) / 255.0))
    carrier = np.cos(np.pi / 2 * np.arange(shape[0]))[:, None]
    return np.rint(30000 * envelope * carrier).astype(np.int16), envelope


def oasbud(root: Path) -> Path:
    """A 1 x N struct array; text and class in arrays of their own, as MATLAB saves them."""
    names = ("id", "rf1", "rf2", "roi1", "roi2", "birads", "class")
    data = np.zeros((1, 10), dtype=[(name, object) for name in names])
    for number in range(10):
        roi = spot(top=100, shape=(480, 64), level=1).astype(np.uint8)
        roi[112:200, 12:24] = 1
        values = (
            f"{number:02d}AB",
            rf_lines(7000 + 2 * number)[0],
            rf_lines(7001 + 2 * number)[0],
            roi,
            roi,
            "4a",
            np.uint8(number % 2),
        )
        for name, value in zip(names, values, strict=True):
            data[0, number][name] = value
    root.mkdir(parents=True, exist_ok=True)
    savemat(root / "OASBUD.mat", {"data": data}, do_compression=True)
    return root


def gdph_sysucc(root: Path) -> Path:
    """No space before the bracket; numbers run on from one hospital to the other."""
    inner = root / "GDPH&SYSUCC"
    rows = [("ID", "BIRADS-reader1", "BIRADS-reader2", "fold")]
    for hospital, first in (("SYSUCC", 0), ("GDPH", 443)):
        for number in range(first, first + 5):
            for start, label in enumerate(LABELS):
                seed = 8000 + 1000 * start + number
                put(inner / hospital / f"{label}({number}).png", picture(seed))
                rows.append((f"{label}({number})", "4A", 3, number % 5))
    workbook(inner / "BIRADS&FOLD.xlsx", {"prediction": rows})
    return root


def thammasat(root: Path) -> Path:
    """Downloaded image by image into a folder a class; JPEG and BMP, capitals as they come."""
    for start, label in ((0, "Benign"), (100, "Malignant")):
        for number in range(1, 6):
            suffix = ("jpg", "JPG", "bmp")[number % 3]
            put(root / label / f"IMG{number}.{suffix}", picture(10000 + start + number))
    return root


def csv_table(root: Path) -> Path:
    """Semicolons, Windows-1252, a mask cell with two files, two images of one patient."""
    rows = ["Image_Path;Mask;Patient;Pathology"]
    for number in range(8):
        name = f"scans\\münchen {number}.tif"
        put(root / "scans" / f"münchen {number}.tif", picture(11000 + number, np.uint16))
        put(root / "masks" / f"a{number}.png", spot())
        put(root / "masks" / f"b{number}.png", spot(top=30))
        rows.append(
            f"{name};masks/a{number}.png & masks/b{number}.png;P{number // 2};"
            f"{LABELS[number // 2 % 2]}"
        )
    (root / "labels.csv").write_bytes("\n".join(rows).encode("cp1252"))
    return root


def split_tree(root: Path) -> Path:
    seed = 12000
    for split in ("train", "test"):
        for label in LABELS:
            for number in range(3):
                seed += 1
                put(root / split / label / f"{number}.png", picture(seed))
    return root


ALL = {
    "busi": busi,
    "curated-busi": curated_busi,
    "udiat": udiat,
    "bus-bra": bus_bra,
    "breast": breast,
    "bus-uclm": bus_uclm,
    "breastmnist": breastmnist,
    "oasbud": oasbud,
    "gdph-sysucc": gdph_sysucc,
    "csv": csv_table,
    "folder": thammasat,
}
"""By the layout that ``auto`` is to choose."""
