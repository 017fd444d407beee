"""Private rasters in SQL: index and pixels through S3 that checks signatures and Azure that wants tokens; the index holds plain hrefs."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine

import rasteret_sql
from rasteret_sql.reader.engine import engine
from tests.reader.oracle import write_tif
from tests.servers.faulty import FaultyServer
from tests.servers.moto import MotoServer
from tests.storage import test_azure
from tests.storage.test_azure import Cloud, serving

PIXELS = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
SQUARE = "POLYGON ((500000 5199360, 500640 5199360, 500640 5200000, 500000 5200000, 500000 5199360))"


@pytest.fixture(scope="module")
def raster(tmp_path_factory):
    path = tmp_path_factory.mktemp("tif") / "x.tif"
    write_tif(path, PIXELS, transform=Affine(10.0, 0.0, 500000.0, 0.0, -10.0, 5200000.0))
    return path.read_bytes()


def build(con, href):
    con.execute(f"CREATE OR REPLACE TABLE records AS SELECT 'r1' AS id, '{href}' AS href").fetchall()
    return con.execute("FROM rasteret_build_from_table('records', name := 'priv', href_column := 'href', band_index_map := {'B': 0})").fetchall()


def pixels(con):
    engine().cache.clear()
    con.execute(f"CREATE OR REPLACE TABLE areas AS SELECT '{SQUARE}' AS geometry").fetchall()
    found = con.execute("SELECT B FROM rasteret_read('priv', 'areas', bands := ['B'], geometry_crs := 'EPSG:32633')").fetchall()
    assert len(found) == 1
    return np.array(found[0][0]).reshape(64, 64)


def on_disk(workspace):
    return b"".join(file.read_bytes() for file in workspace.rglob("*") if file.is_file())


def setting(con, name, value):
    con.execute(f"SET VARIABLE rasteret_{name} = {value}").fetchall()


def test_a_private_bucket(con, workspace, raster):
    with MotoServer() as moto:
        moto.client().create_bucket(Bucket="private")
        moto.client().put_object(Bucket="private", Key="a b/ü.tif", Body=raster)
        setting(con, "s3_endpoint", f"'{moto.url}'")
        rasteret_sql.s3_credentials(key_id=moto.keys[0], secret=moto.keys[1])
        build(con, "s3://private/a b/ü.tif")
        assert (pixels(con) == PIXELS).all()
        rasteret_sql.s3_credentials(key_id=moto.keys[0], secret="wr0ng-s3cr3t")
        with pytest.raises(Exception, match="the secret access key does not fit the key id .HTTP 403, SignatureDoesNotMatch") as caught:
            pixels(con)
    assert "wr0ng-s3cr3t" not in str(caught.value)
    assert moto.keys[0] not in str(caught.value)
    stored = on_disk(workspace)
    assert not any(text.encode() in stored for text in (*moto.keys, "Signature", "127.0.0.1"))


def test_planetary_computers_tokens(con, workspace, raster, monkeypatch):
    monkeypatch.setattr(test_azure, "DATA", raster)
    with serving(Cloud()) as cloud:
        setting(con, "azure_endpoint", f"'{cloud.url}'")
        setting(con, "sas_api", f"'{cloud.url}'")
        build(con, "https://landsateuwest.blob.core.windows.net/landsat-c2/x.tif")
        assert (pixels(con) == PIXELS).all()
        cloud.valid.clear()
        assert (pixels(con) == PIXELS).all(), "renewed in the middle"
        assert cloud.asked == 2
    stored = on_disk(workspace)
    assert b"s3cr3t" not in stored
    assert b"sig=" not in stored


def test_settings_of_one_connection_are_not_anothers(con, workspace, raster):
    """The process shares its connections to servers, not what one query was told about payment."""
    rasteret_sql.s3_credentials(key_id="k", secret="s3cr3t")
    with FaultyServer(raster) as server, rasteret_sql.connect() as other:
        for connection in (con, other):
            setting(connection, "s3_endpoint", f"'{server.url('')}'")
        setting(con, "s3_requester_pays", "['mine', 'yours']")
        for number, (connection, sent) in enumerate([(con, True), (other, False), (con, True)]):
            setting(connection, "workspace", f"'{workspace}'")
            build(connection, f"s3://mine/{number}.tif")
            assert server.requests[-1].path == f"/mine/{number}.tif"
            assert ("x-amz-request-payer" in server.requests[-1].headers) is sent
