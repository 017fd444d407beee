"""Python, the packages that are needed, and the parts of them that can be missing: codecs, PROJ's database."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
import re
import sys
from collections.abc import Iterator

from rasteret_sql import __version__
from rasteret_sql.doctor.findings import Finding, broken, note, ok

OLDEST = (3, 11)
NEEDED = {
    "duckdb": "1.5",
    "pyarrow": "17",
    "numpy": "1.26",
    "aiohttp": "3.12",
    "fsspec": "2023.1",
    "imagecodecs": "2024.1",
    "pyproj": "3.6",
    "shapely": "2.0",
    "rasterio": "1.3",
}
"""Package → oldest version, as in the package's own metadata."""
CODECS = ("deflate", "lzw", "zstd", "lzma", "packbits", "lerc", "jpeg", "webp", "jpegxl", "jpeg2k")
"""Compressions of GeoTIFFs, by imagecodecs' names."""
EXTRAS = {"aws": ("botocore", "AWS keys from SSO, roles and instances"), "stac": ("pystac_client", "searches made in Python")}


def check_packages() -> Iterator[Finding]:
    """One finding for Python, one for all packages that are well, one for each that is not."""
    version = platform.python_version()
    if sys.version_info[:2] < OLDEST:
        yield broken("python", f"Python {version} is too old", "install Python 3.11 or newer")
    else:
        yield ok("python", f"Python {version}, rasteret-sql {__version__}, {platform.system()} {platform.machine()}")
    good: list[str] = []
    for name, oldest in NEEDED.items():
        try:
            importlib.import_module(name)
            found = importlib.metadata.version(name)
        except ImportError as error:  # PackageNotFoundError is one
            yield broken("packages", f"{name} cannot be imported: {error}", f"pip install '{name}>={oldest}'")
            continue
        if _parts(found) < _parts(oldest):
            yield broken("packages", f"{name} {found} is older than {oldest}", f"pip install --upgrade '{name}>={oldest}'")
        else:
            good.append(f"{name} {found}")
    if good:
        yield ok("packages", ", ".join(good))
    yield from _codecs()
    yield from _proj()
    for extra, (module, purpose) in EXTRAS.items():
        if importlib.util.find_spec(module) is None:
            yield ok("extras", f"{extra} is not installed (pip install 'rasteret-sql[{extra}]' for {purpose})")


def _codecs() -> Iterator[Finding]:
    try:
        codecs = importlib.import_module("imagecodecs")
    except ImportError:
        return  # said already
    missing = [name for name in CODECS if not getattr(getattr(codecs, name.upper(), None), "available", False)]
    if missing:
        text = f"imagecodecs was built without {', '.join(missing)}: files compressed so cannot be read"
        yield note("codecs", text, "pip install --force-reinstall imagecodecs (its wheels have all codecs)")
    else:
        yield ok("codecs", ", ".join(CODECS))


def _proj() -> Iterator[Finding]:
    fix = "unset PROJ_LIB and PROJ_DATA if they point to another installation; pip install --force-reinstall pyproj"
    try:
        pyproj = importlib.import_module("pyproj")
        crs = importlib.import_module("rasteret_sql.raster.crs")
        crs.check_crs("EPSG:32633")
        place = importlib.import_module("pyproj.datadir").get_data_dir()
    except ImportError:
        return  # said already
    except (pyproj.exceptions.ProjError, pyproj.exceptions.DataDirError, ValueError) as error:
        yield broken("proj", f"PROJ does not know EPSG:32633: {error}", fix)
        return
    yield ok("proj", f"PROJ {pyproj.proj_version_str}, database in {place}")


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
