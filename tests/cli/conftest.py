"""A catalogue of three scenes in small files, on disk and on a server; datasets' APIs can be pointed at it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.collection.tiffs import write
from tests.servers.ranged import RangeServer

BOX = "14.9,46.8,15.7,47.1"


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``items.json`` (collection sentinel-2-l2a, assets red and nir) and the files that it names."""
    root = tmp_path_factory.mktemp("scenes")
    items = []
    for number in range(3):
        for band in ("red", "nir"):
            write(root / f"{number}-{band}.tif", seed=number)
        items.append(
            {
                "type": "Feature",
                "id": f"S{number}",
                "collection": "sentinel-2-l2a",
                "bbox": [15.0, 46.9, 15.1, 47.0],
                "properties": {"datetime": f"2024-01-{1 + 10 * number:02d}T10:00:00Z", "eo:cloud_cover": 30 * number},
                "assets": {band: {"href": f"{number}-{band}.tif", "type": "image/tiff"} for band in ("red", "nir")},
            }
        )
    (root / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return root


@pytest.fixture(scope="session")
def served(scenes: Path):
    with RangeServer(scenes) as server:
        yield server


@pytest.fixture
def earth(served: RangeServer, workspace: Path) -> dict[str, str]:
    """Environment in which Earth Search is the loopback catalogue, with a workspace of the test."""
    return {"RASTERET_STAC_ENDPOINTS": f"earthsearch={served.url('items.json')}", "RASTERET_WORKSPACE": str(workspace)}


@pytest.fixture
def built(scenes: Path, workspace: Path) -> Path:
    """A workspace that holds the collection ``s2``, built by the Python function."""
    import rasteret_sql

    rasteret_sql.build_from_stac(
        scenes / "items.json", "sentinel-2-l2a", name="s2", band_map={"B04": "red", "B08": "nir"}, workspace=workspace, settings={"progress": False}
    )
    return workspace
