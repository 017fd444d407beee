"""One world for the session: files on a server of our own, their items in real STAC APIs."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from tests.servers import stac_api
from tests.servers.answering import AnsweringServer, Reply
from tests.servers.ranged import RangeServer, _Reply
from tests.stac.world import ACCOUNT, World, earth_search, planetary_computer


class CloudServer(RangeServer):
    """S3's buckets and Azure's accounts as folders; blobs are given only to those who bring the token."""

    def _answer(self, connection: socket.socket, head: str) -> bool:
        target = head.split(" ", 2)[1]
        if target.startswith(f"/{ACCOUNT}/") and TOKEN not in target:
            self._send(connection, "GET", _Reply("403 Forbidden", {"x-ms-error-code": "NoAuthenticationInformation"}))
            return True
        return super()._answer(connection, head)


TOKEN = "sig=t0k3n"


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RangeServer]:
    with CloudServer(tmp_path_factory.mktemp("world")) as server:
        yield server


@pytest.fixture(scope="session")
def tokens() -> Iterator[AnsweringServer]:
    """The service of anonymous tokens in the place of Planetary Computer's."""
    with AnsweringServer(lambda asked: Reply({"token": f"sv=1&{TOKEN}", "msft:expiry": "2999-01-01T00:00:00Z"})) as server:
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
def mirrors(con, pgstac, rustac, files, tokens, monkeypatch):
    """A connection whose datasets come from loopback: both APIs, S3's buckets and Azure's accounts.

    The keys are for the requester-pays buckets of Landsat and NAIP, which are asked with signed requests only.
    """
    for name, value in (("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "not-a-secret"), ("AWS_EC2_METADATA_DISABLED", "true")):
        monkeypatch.setenv(name, value)
    con.execute(f"SET VARIABLE rasteret_stac_endpoints = {{'earthsearch': '{pgstac}', 'pc': '{rustac}'}}").fetchall()
    for name, url in (("s3_endpoint", files.url("")), ("azure_endpoint", files.url("")), ("sas_api", tokens.url)):
        con.execute(f"SET VARIABLE rasteret_{name} = '{url.rstrip('/')}'").fetchall()
    return con
