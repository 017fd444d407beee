"""Collections by URL: through a server that counts, S3 that checks signatures, and what is wrong with a place, in one line."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import rasteret_sql
from rasteret_sql.collection.ranges import RANGES
from rasteret_sql.collection.remote import MANIFEST, MOUNTS
from rasteret_sql.storage.credentials import forget_credentials
from tests.collection.asking import one, refused, rows
from tests.collection.elsewhere import COUNT, HERE, POINTS, connection, many, scenes
from tests.servers.moto import MotoServer
from tests.servers.ranged import RangeServer

HERE_SQL = f"bbox.xmin <= {HERE[2]} AND bbox.xmax >= {HERE[0]} AND bbox.ymin <= {HERE[3]} AND bbox.ymax >= {HERE[1]}"
UPSTREAM = Path(__file__).parent / "data" / "upstream"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server with scenes, a large collection by month, and the same as one file."""
    root = tmp_path_factory.mktemp("served")
    with RangeServer(root) as server, connection(tmp_path_factory.mktemp("first")) as con:
        scenes(con, server)
        many(con)
        con.execute(f"FROM rasteret_export(scenes, '{root}/small')").fetchall()
        con.execute(f"FROM rasteret_export(many, '{root}/big')").fetchall()
        con.execute(f"FROM rasteret_export(many, '{root}/big.parquet')").fetchall()
        yield server


@pytest.fixture(autouse=True)
def afresh(served):
    """Nothing is known of earlier tests' files."""
    RANGES.clear()
    MOUNTS.forget()
    served.reset()


def index_bytes(server, name):
    """Bytes and requests of the Parquet files below a name."""
    ranges = [pair for path, pairs in server.stats().ranges.items() if path.startswith(f"/{name}") for pair in pairs]
    return sum(stop - start for start, stop in ranges), len(ranges)


def size_of(server, name):
    place = server.root / name
    return place.stat().st_size if place.is_file() else sum(file.stat().st_size for file in place.rglob("*.parquet"))


@pytest.mark.parametrize("name", ["small", "small/"])
def test_a_folder_that_was_exported(con, served, name):
    where = served.url(name)
    found = rows(con, f"SELECT id, year, month FROM rasteret_collection('{where}') ORDER BY datetime")
    assert [(row["year"], row["month"]) for row in found] == [(2016, 1), (2016, 4), (2016, 5), (2017, 2)]
    (value,) = rows(con, f"WITH p AS ({POINTS}) FROM rasteret_sample('{where}', p, bands := ['R', 'NIR'], match := 'latest')")
    assert (value["record_id"], value["status"]) == ("rgbn_20170203", "ok")
    local = rows(con, f"WITH p AS ({POINTS}) FROM rasteret_sample('{served.root}/small', p, bands := ['R', 'NIR'], match := 'latest')")
    assert [value] == local
    assert {row["band"]: row["dtype"] for row in rows(con, f"FROM rasteret_bands('{where}')")} == {"R": "uint8", "NIR": "uint8"}
    assert rows(con, f"FROM rasteret_failures('{where}')") == []


def test_one_file(con, served):
    where = served.url("big.parquet")
    assert one(con, f"SELECT count(*) AS n FROM rasteret_collection('{where}')")["n"] == COUNT + 4


def test_a_small_box_reads_little(con, served):
    """Row groups and columns are pruned by DuckDB itself: less than a tenth of the bytes, of a file and of a folder of months."""
    for name in ("big.parquet", "big"):
        served.reset()
        found = rows(con, f"SELECT id FROM rasteret_collection('{served.url(name)}') WHERE {HERE_SQL} AND id LIKE 'rgbn%'")
        assert len(found) == 4
        nbytes, requests = index_bytes(served, name)
        assert nbytes < size_of(served, name) / 10, name
        assert requests < 120, name


def test_a_day_reads_little(con, served):
    where = served.url("big")
    days = rows(con, f"SELECT count(*) AS n FROM rasteret_collection('{where}') WHERE year = 2020 AND month = 3 AND datetime < DATE '2020-03-02'")
    assert days[0]["n"] == sum(1 for i in range(COUNT) if i % 365 == 60)
    touched = {path for path in served.stats().ranges if path.endswith(".parquet")}
    assert len(touched) <= 2, "the first file, for its schema, and the one of the month"
    assert index_bytes(served, "big")[0] < size_of(served, "big") / 10


def test_pixels_of_a_place(con, served):
    """The planner's pairing reads boxes only; of headers, the row groups of the records that are met."""
    (value,) = rows(con, f"WITH p AS ({POINTS}) FROM rasteret_sample('{served.url('big.parquet')}', p, bands := ['R'], match := 'latest')")
    assert value["status"] == "ok"
    assert index_bytes(served, "big.parquet")[0] < size_of(served, "big.parquet") / 5


def test_what_is_known_is_not_read_again(con, served):
    statement = f"SELECT count(*) AS n FROM rasteret_collection('{served.url('big.parquet')}') WHERE {HERE_SQL}"
    first = one(con, statement)
    served.reset()
    assert one(con, statement) == first
    assert served.stats().requests == 0
    MOUNTS.forget()
    assert one(con, statement) == first
    assert served.stats().requests == 1, "is it still the same file?"


def test_a_file_that_changes(con, served):
    shutil.copy(served.root / "big.parquet", served.root / "changing.parquet")
    where = served.url("changing.parquet")
    assert one(con, f"SELECT count(*) AS n FROM rasteret_collection('{where}')")["n"] == COUNT + 4
    con.execute(f"CREATE OR REPLACE TABLE few AS FROM rasteret_collection('{where}') WHERE id LIKE 'rgbn%'").fetchall()
    con.execute(f"FROM rasteret_export(few, '{served.root}/changing.parquet', overwrite := true)").fetchall()
    RANGES.clear()
    with pytest.raises(duckdb.Error, match=r"changing.parquet: the file changed since it was indexed"):
        con.execute(f"SELECT count(DISTINCT crs) FROM rasteret_collection('{where}')").fetchall()
    MOUNTS.forget()
    assert one(con, f"SELECT count(*) AS n FROM rasteret_collection('{where}')")["n"] == 4


def test_views_cursors_and_threads(con, served):
    con.execute(f"CREATE VIEW far AS FROM rasteret.collection('{served.url('small')}')").fetchall()
    con.execute(f"CREATE TABLE spots AS {POINTS}").fetchall()

    def ask(number):
        RANGES.clear()
        with con.cursor() as cursor:
            table = "rasteret.sample(far, spots, bands := ['R'])" if number % 2 else "far"
            return cursor.execute(f"SELECT count(*), min(datetime) FROM {table}").fetchall()[0][0]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(24))) == [4] * 24


def test_the_users_own_addresses_are_left_alone(con):
    """httpfs, or another file system, may have http:// and s3://; ours is a name of its own."""
    assert con.list_filesystems() == ["rasteret"]
    rasteret_sql.register(con)
    assert con.list_filesystems() == ["rasteret"]
    with pytest.raises(duckdb.Error, match="was opened by another process"):
        con.execute("FROM read_parquet('rasteret://0123/x.parquet')").fetchall()


def test_what_upstream_wrote(con, served):
    """A file of the other package, by URL: its local hrefs are refused, whichever way they come."""
    file = next((UPSTREAM / "rgbn_records").rglob("*.parquet"))
    shutil.copy(file, served.root / "theirs.parquet")
    where = served.url("theirs.parquet")
    assert {row["band"]: row["dtype"] for row in rows(con, f"FROM rasteret_bands('{where}')")} == {"R": "uint8", "NIR": "uint8"}
    assert "local paths are not taken from a remote catalogue" in refused(
        con, f"WITH p AS ({POINTS}) FROM rasteret_sample('{where}', p, bands := ['R'])"
    )
    said = refused(con, f"WITH r AS (FROM rasteret_collection('{where}')), p AS ({POINTS}) FROM rasteret_sample(r, p, bands := ['R'])")
    assert "names files by local paths, which are not taken from a remote collection" in said


def test_a_name_for_it(con, served, workspace):
    rasteret_sql.load(served.url("small"), name="far", workspace=str(workspace))
    assert one(con, "SELECT count(*) AS n FROM rasteret_collection(far)")["n"] == 4
    served.reset()
    (listed,) = rows(con, "FROM rasteret_collections()")
    assert (listed["name"], listed["path"], listed["records"]) == ("far", served.url("small"), None)
    assert served.stats().requests == 0, "a list opens nothing"


def test_bad_places(con, served):
    (served.root / "folder").mkdir(exist_ok=True)
    (served.root / "text.parquet").write_text("no Parquet at all, but long enough to look at")
    (served.root / "PAR1.parquet").write_bytes(b"PAR1" + bytes(100) + b"\xff\xff\xff\x7fPAR1")
    (served.root / "torn.parquet").write_bytes(b"PAR1" + b"\x99" * 500 + (400).to_bytes(4, "little") + b"PAR1")
    pq.write_table(pa.table({"id": [1]}), served.root / "other.parquet")
    (served.root / "broken").mkdir(exist_ok=True)
    (served.root / "broken" / MANIFEST).write_text("[]")
    (served.root / "evil").mkdir(exist_ok=True)
    (served.root / "evil" / MANIFEST).write_text('{"format": 1, "generation": "", "files": [{"path": "../big.parquet", "bytes": 7, "etag": null}]}')
    expected = {
        "nothing.parquet": "no such file: {} (HTTP 404)",
        "text.parquet": "{} is no collection: it is no Parquet file",
        "PAR1.parquet": "{} is no collection: its footer is broken",
        "other.parquet": "{} is no collection: it lacks the columns datetime, bbox, assets",
        "folder": f"{{}}/ is no collection: it has no {MANIFEST} (rasteret_export writes it), and only s3:// can be listed; name its .parquet file",
        "broken": f"{{}}/{MANIFEST} is no list of a collection's files",
        "evil": f"{{}}/{MANIFEST} is no list of a collection's files",
    }
    for name, said in expected.items():
        where = served.url(name)
        assert refused(con, f"FROM rasteret_collection('{where}?sig=hush')") == f"rasteret_collection: {said.format(where)}", name
    for torn in (served.url("torn.parquet"), str(served.root / "torn.parquet")):
        assert refused(con, f"FROM rasteret_collection('{torn}')").startswith(f"rasteret_collection: {torn} is no collection: Couldn't deserialize")
    assert "cannot be reached" in refused(con, "FROM rasteret_collection('http://127.0.0.1:9/x.parquet')")


@pytest.fixture(scope="module")
def moto():
    with MotoServer() as running:
        running.client().create_bucket(Bucket="cloud")
        running.client().create_bucket(Bucket="empty")
        yield running


@pytest.fixture
def cloud(con, moto, monkeypatch):
    """A connection to a store that checks signatures, with the keys of one who may do everything."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    con.execute(f"SET VARIABLE rasteret_s3_endpoint = '{moto.url}'").fetchall()
    rasteret_sql.s3_credentials(key_id=moto.keys[0], secret=moto.keys[1])
    yield con
    forget_credentials()


def keys(moto, prefix):
    found = moto.client().list_objects_v2(Bucket="cloud", Prefix=prefix, MaxKeys=1000)
    return sorted(entry["Key"] for entry in found.get("Contents", ()))


def test_out_to_s3_and_back(cloud, moto, served):
    said = one(cloud, f"FROM rasteret_export('{served.root}/small', 's3://cloud/a b/ü')")
    assert (said["path"], said["records"], said["files"]) == ("s3://cloud/a b/ü/", 4, 4)
    stored = keys(moto, "a b/ü/")
    assert len(stored) == 5
    assert f"a b/ü/{MANIFEST}" in stored
    found = rows(cloud, "SELECT id, year, month FROM rasteret_collection('s3://cloud/a b/ü') ORDER BY id")
    assert found == rows(cloud, f"SELECT id, year, month FROM rasteret_collection('{served.root}/small') ORDER BY id")
    (value,) = rows(cloud, f"WITH p AS ({POINTS}) FROM rasteret_sample('s3://cloud/a b/ü/', p, bands := ['R'], match := 'latest')")
    assert value["status"] == "ok"
    assert (
        refused(cloud, f"FROM rasteret_export('{served.root}/small', 's3://cloud/a b/ü/')")
        == "s3://cloud/a b/ü/ exists already; overwrite := true replaces it"
    )
    cloud.execute("CREATE TABLE few AS FROM rasteret_collection('s3://cloud/a b/ü') WHERE year = 2017").fetchall()
    one(cloud, "FROM rasteret_export(few, 's3://cloud/a b/ü/', overwrite := true)")
    assert [row["id"] for row in rows(cloud, "SELECT id FROM rasteret_collection('s3://cloud/a b/ü')")] == ["rgbn_20170203"]
    after = keys(moto, "a b/ü/")
    assert len(after) == 2
    assert not set(after) & set(stored) - {f"a b/ü/{MANIFEST}"}, "files of two exports share no name"


def test_one_object(cloud, moto, served):
    one(cloud, f"FROM rasteret_export('{served.root}/small', 's3://cloud/one.parquet')")
    assert keys(moto, "one") == ["one.parquet"]
    assert one(cloud, "SELECT count(*) AS n FROM rasteret_collection('s3://cloud/one.parquet')")["n"] == 4
    assert "exists already" in refused(cloud, f"FROM rasteret_export('{served.root}/small', 's3://cloud/one.parquet')")


def test_a_prefix_that_others_wrote(cloud, moto, served):
    """No list of files: the prefix is listed, page by page; what is no data is left aside."""
    root = UPSTREAM / "rgbn_records"
    for file in root.rglob("*.parquet"):
        moto.client().put_object(Bucket="cloud", Key=f"theirs/{file.relative_to(root).as_posix()}", Body=file.read_bytes())
    for number in range(45):
        moto.client().put_object(Bucket="cloud", Key=f"theirs/.hidden/{number}.parquet", Body=b"x")
    moto.client().put_object(Bucket="cloud", Key="theirs/_failures.parquet", Body=b"x")
    moto.client().put_object(Bucket="cloud", Key="theirs-not/year=2016/month=1/part-0.parquet", Body=b"x")
    found = rows(cloud, "SELECT id, year, month FROM rasteret_collection('s3://cloud/theirs') ORDER BY id")
    assert found == rows(cloud, f"SELECT id, year, month FROM rasteret_collection('{root}') ORDER BY id")


def test_what_is_wrong_with_a_bucket(cloud, moto):
    moto.client().put_object(Bucket="cloud", Key="texts/a.txt", Body=b"x")
    ask = "FROM rasteret_collection('{}')"
    assert refused(cloud, ask.format("s3://cloud/nothing/")).endswith("s3://cloud/nothing/ is no collection: nothing lies below it")
    assert refused(cloud, ask.format("s3://empty")).endswith("s3://empty/ is no collection: nothing lies below it")
    assert refused(cloud, ask.format("s3://cloud/texts")).endswith(
        "s3://cloud/texts/ is no collection: 1 objects, none of them a Parquet file lies below it"
    )
    assert "HTTP 404" in refused(cloud, ask.format("s3://no-such-bucket/x"))
    assert refused(cloud, ask.format("s3://cloud/gone.parquet")).endswith("no such file: s3://cloud/gone.parquet (HTTP 404)")


def test_wrong_keys(cloud, moto, served):
    one(cloud, f"FROM rasteret_export('{served.root}/small', 's3://cloud/private')")
    MOUNTS.forget()
    rasteret_sql.s3_credentials(key_id=moto.keys[0], secret="wr0ng-s3cr3t")
    said = refused(cloud, "FROM rasteret_collection('s3://cloud/private')")
    assert "the secret access key does not fit the key id (HTTP 403, SignatureDoesNotMatch" in said
    stored = refused(cloud, f"FROM rasteret_export('{served.root}/small', 's3://cloud/other.parquet')")
    assert stored.startswith("s3://cloud/other.parquet: ")
    assert not any(secret in text for text in (said, stored) for secret in ("wr0ng", moto.keys[0]))
    rasteret_sql.s3_credentials(key_id=moto.powerless[0], secret=moto.powerless[1])
    assert "HTTP 403" in refused(cloud, "FROM rasteret_collection('s3://cloud/private')")
