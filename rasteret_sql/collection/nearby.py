"""What to say of a path that is not what was asked for: names close to it, what a folder holds. Looks at local folders only."""

from __future__ import annotations

from pathlib import Path

from rasteret_sql.errors import listing, near

TIFF_ENDINGS = (".tif", ".tiff", ".gtiff", ".cog", ".tif_")
"""What a path of a GeoTIFF ends in."""
_MOST = 2000
"""Entries of a folder that are looked at."""
_SHOWN = 5


def near_path(path: Path) -> str:
    """``"; did you mean 'a/b.tif'?"``, or which folder of the path is not there, or what the folder holds; empty where nothing can be said."""
    missing = path
    while not missing.parent.is_dir():
        if missing.parent == missing:
            return ""
        missing = missing.parent
    names = _names(missing.parent)
    meant = near(missing.name, names)
    if missing != path:
        return f"; there is no folder {str(missing)!r}{meant}"
    if meant:
        found = next(name for name in names if meant == near(missing.name, [name]))
        return f"; did you mean {str(path.with_name(found))!r}?"
    ending = path.suffix.lower()
    endings = TIFF_ENDINGS if ending in TIFF_ENDINGS else (ending,)
    alike = [name for name in names if name.lower().endswith(endings)]
    return f"; there: {listing(alike, _SHOWN)}" if alike else ""


def what_lies_in(folder: Path) -> str:
    """Of a folder that is no collection, the line to type for its GeoTIFFs; empty where it has none."""
    names = [name for name in _names(folder) if name.lower().endswith(TIFF_ENDINGS)]
    if not names:
        return ""
    ending = Path(names[0]).suffix
    return f"; {str(folder)!r} is a folder of {len(names)} GeoTIFFs: write {str(folder / f'*{ending}')!r}"


def _names(folder: Path) -> list[str]:
    """Names in a folder, hidden ones apart; none where it cannot be read."""
    try:
        return sorted(entry.name for _, entry in zip(range(_MOST), folder.iterdir(), strict=False) if not entry.name.startswith("."))
    except OSError:
        return []
