"""What makes a record the one that is known already: digests of what its row is made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rasteret_sql.collection.schema import BAND_METADATA
from rasteret_sql.collection.source import AssetTable
from rasteret_sql.errors import RasteretError
from rasteret_sql.reader.headers import local_stamp

U64 = npt.NDArray[np.uint64]


def identity_digest(identity: Mapping[str, Any]) -> str:
    """One text for one source with its parameters, whatever the order of their names, and for what this version keeps of a header."""
    named = [str(BAND_METADATA), json.dumps(identity, sort_keys=True, default=str)]
    return hashlib.blake2b("\x1f".join(named).encode(), digest_size=16).hexdigest()


def text_hash(text: str) -> int:
    """64 bits of a text, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def fingerprints(assets: AssetTable) -> U64:
    """``[n, 2]``: 128 bits of each record's id, version, CRS, and every band's href and sample.

    A local file counts with its time of change: one that was written again is another file.
    """
    stamps: dict[str, str] = {}
    columns = [(band, hrefs, assets.samples[band]) for band, hrefs in assets.hrefs.items()]
    out = np.empty((len(assets.ids), 2), dtype=np.uint64)
    for row, record in enumerate(assets.ids):
        parts = [record, _stamp_of(assets, row), assets.crs[row] or "", "every" if assets.every_sample else ""]
        for band, hrefs, samples in columns:
            href = hrefs[row]
            if href is not None:
                if (stamp := stamps.get(href)) is None:
                    stamp = stamps[href] = "" if assets.remote else stamp_of_file(href) or ""
                parts += (band, href, str(samples[row]), stamp)
        digest = hashlib.blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        out[row] = np.frombuffer(digest, dtype="<u8")
    return out


def id_hashes(assets: AssetTable) -> U64:
    return np.fromiter((text_hash(record) for record in assets.ids), np.uint64, len(assets.ids))


def stamps(assets: AssetTable) -> U64:
    """64 bits of each record's version; a band is taken over from an old row only where they agree."""
    return np.fromiter((text_hash(_stamp_of(assets, row)) for row in range(len(assets.ids))), np.uint64, len(assets.ids))


def stamp_of_file(href: str) -> str | None:
    """The stamp of a local file; None for others and for what cannot be found."""
    if "://" in href and not href.startswith("file:"):
        return None
    try:
        return local_stamp(href)
    except RasteretError:
        return None


def _stamp_of(assets: AssetTable, row: int) -> str:
    return (assets.versions[row] if assets.versions else None) or ""
