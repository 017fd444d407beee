"""One world for the session: files on a server of our own, their items in real STAC APIs."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.servers import stac_api
from tests.servers.ranged import RangeServer
from tests.stac.world import World, earth_search, planetary_computer


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RangeServer]:
    with RangeServer(tmp_path_factory.mktemp("world")) as server:
        yield server


@pytest.fixture(scope="session")
def earth(files: RangeServer) -> World:
    """What Earth Search has."""
    world = World(files.root, files.url("").rstrip("/"))
    earth_search(world)
    return world


@pytest.fixture(scope="session")
def planet(files: RangeServer) -> World:
    """What Planetary Computer has."""
    world = World(files.root, files.url("").rstrip("/"))
    planetary_computer(world)
    return world


def _needs_servers() -> None:
    """Skipped where the servers are not installed; never where CI says that they must be."""
    if reason := stac_api.missing():
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def pgstac(earth: World) -> Iterator[str]:
    """Root of stac-fastapi-pgstac in the place of Earth Search."""
    _needs_servers()
    with stac_api.pgstac(list(earth.collections.values()), earth.items) as url:
        yield url


@pytest.fixture(scope="session")
def rustac(planet: World) -> Iterator[str]:
    """Root of rustac in the place of Planetary Computer."""
    _needs_servers()
    with stac_api.rustac(list(planet.collections.values()), planet.items) as url:
        yield url


@pytest.fixture
def mirrors(con, pgstac, rustac, files, monkeypatch):
    """A connection whose datasets come from loopback: both APIs, and S3's buckets as folders of the file server.

    The keys are for the requester-pays buckets of Landsat and NAIP, which are asked with signed requests only.
    """
    for name, value in (("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "not-a-secret"), ("AWS_EC2_METADATA_DISABLED", "true")):
        monkeypatch.setenv(name, value)
    con.execute(f"SET VARIABLE rasteret_stac_endpoints = {{'earthsearch': '{pgstac}', 'pc': '{rustac}'}}").fetchall()
    con.execute(f"SET VARIABLE rasteret_s3_endpoint = '{files.url('').rstrip('/')}'").fetchall()
    return con
