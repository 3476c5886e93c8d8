"""Names of files and ids from names that are not trusted: folders, files, classes of others."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

_LENGTH_MAX = 60
_NUMBER_DIGITS = 4
_DIGEST_DIGITS = 8


def slug(text: str) -> str:
    """Lower-case ASCII letters, digits, ``_`` and ``-``; empty where the text has none of these."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-_")[:_LENGTH_MAX].rstrip("-_")


def image_ids(files: Sequence[tuple[str, str, str]]) -> list[str]:
    """Unique ids such as ``busi-benign-0012`` for (source, class slug, path in the source).

    The class is not repeated and numbers are padded, so that ids sort as people count. Where two
    files would share an id, or a name has nothing to make one of, a digest of the path is added.
    """
    ids = [_plain_id(*file) for file in files]
    uses = Counter(ids)
    return [
        f"{name}-{_digest(*file)}" if uses[name] > 1 else name
        for name, file in zip(ids, files, strict=True)
    ]


def _plain_id(source: str, label: str, key: str) -> str:
    path = PurePosixPath(key)
    parts = [*path.parts[1:-1], re.sub(rf"^{re.escape(label)}\b", "", path.stem, flags=re.I)]
    stem = slug(re.sub(r"\d+", lambda digits: digits[0].zfill(_NUMBER_DIGITS), "-".join(parts)))
    return f"{slug(source) or 'source'}-{label}-{stem or _digest(source, label, key)}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_DIGEST_DIGITS]
