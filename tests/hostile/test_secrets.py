"""What must not be told: passwords, signatures and tokens of URLs, in errors, tables, settings, indexes, ``repr``; what a catalogue must not reach."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import duckdb
import pytest

from rasteret_sql.errors import InvalidArgument, ReadError, presentable, redact
from rasteret_sql.settings import Settings, resolve_settings
from rasteret_sql.storage.hrefs import remote_href
from tests.hostile.slots import HOLE, SLOTS_OF_TEXT
from tests.hostile.texts import doubled
from tests.hostile.world import SECRET, World, checked_error, make_world
from tests.servers.answering import AnsweringServer, Reply

KEY = "s3cr3t-K3Y"
URLS = (
    f"https://user:{KEY}@127.0.0.1:1/a.tif",
    f"http://127.0.0.1:1/a.tif?sv=1&sig={KEY}",
    f"http://127.0.0.1:1/x.parquet?X-Amz-Credential={KEY}&X-Amz-Signature={KEY}",
    f"HTTP://127.0.0.1:1/a.tif#{KEY}",
    f"s3://u:{KEY}@b",
    f"az://account?{KEY}",
    f"https:/127.0.0.1/a.tif?{KEY}",
    f"//127.0.0.1/a.tif?{KEY}",
    f"/vsicurl?url=http%3A%2F%2F127.0.0.1&sig={KEY}",
    f"ftp://u:{KEY}@127.0.0.1/x",
)
HREFS = (
    "file:///etc/passwd", "FILE:///etc/passwd", "file:/etc/passwd", "/etc/passwd", "../../etc/passwd", "./x.tif", "\\\\host\\share\\a.tif", "C:\\a.tif",
    "ftp://127.0.0.1/a.tif", "data:image/tiff;base64,AAAA", "javascript:alert(1)", "/vsicurl/http://127.0.0.1/a.tif", "/vsizip//etc/x.zip", "vrt://a.tif",
    " /etc/passwd", "\n/etc/passwd", "\tfile:///etc/passwd", " file:///etc/passwd", "%2Fetc%2Fpasswd", "file%3A///etc/passwd", "fIlE://localhost/etc/passwd",
    "gopher://127.0.0.1/", "hdfs://a/b.tif", "zip:///etc/a.zip", "unix:///run/x", "http:", "https://", "http:///etc/passwd", "s3:///etc/passwd",
    "//127.0.0.1/a.tif", "\x00/etc/passwd", "http://[/a.tif", "~/.ssh/id_rsa", "",
)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with make_world(tmp_path_factory.mktemp("secrets")) as made, chdir(made.root / "cwd"):
        yield made


def test_no_key_in_errors(world: World) -> None:
    """Such a URL in every argument that takes a text: most refuse it, and none repeats its secret (DuckDB repeats the statement, after ours)."""
    refusals = 0
    for slot in SLOTS_OF_TEXT:
        if slot.argument in {"crs", "geometry_crs", "target_crs"}:
            continue
        url = URLS[refusals % len(URLS)]
        try:
            world.rows(slot.call.replace(HOLE, "$given"), {"given": url})
        except duckdb.Error as error:
            refusals += 1
            said = checked_error(world, error, url)
            assert KEY not in said or said.startswith(("Binder Error: Could not find key", "Catalog Error: ")), f"{slot.name}: {said}"
            if said.startswith("Invalid Input Error: "):
                assert KEY not in str(error).partition("\n\n")[0], slot.name
    assert refusals > 60
    world.check()
    world.tidy()


@pytest.mark.parametrize("href", URLS)
def test_no_key_in_failures_reports_and_io(world: World, href: str) -> None:
    """A build over such hrefs: what failed is told, and how, without the key; the metadata of the index has none either."""
    world.rows(f"CREATE TABLE signed AS SELECT 'bad' AS id, {doubled(href)} AS href UNION ALL SELECT id, href FROM files")
    try:
        world.rows("FROM rasteret_build_from_table(signed, name := 'built', href_column := 'href')")
        told: list[Any] = world.rows("FROM rasteret_failures('built')") + world.rows("FROM rasteret_io()") + world.rows("FROM rasteret_collections()")
        assert len(world.rows("FROM rasteret_failures('built')")) >= 1
        assert KEY not in str(told)
    finally:
        world.rows("DROP TABLE signed")
        world.tidy()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stac_endpoints", f"pc=https://ok.invalid/v1,earthsearch=https://u:{KEY}@h/v1"),
        ("stac_endpoints", {"pc": f"https://u:{KEY}@h/v1"}),
        ("stac_endpoints", [("pc", f"https://h/v1?sig={KEY}")]),
        ("s3_endpoint", f"https://u:{KEY}@h"),
        ("s3_endpoint", f"https:/u:{KEY}@h"),
        ("azure_endpoint", f"https://h/?sig={KEY}"),
        ("sas_api", f"ftp://u:{KEY}@h"),
        ("max_bytes", f"https://h/?sig={KEY}"),
    ],
)
def test_no_key_in_settings(name: str, value: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        resolve_settings({name: value}, {})
    assert KEY not in str(caught.value)
    assert name in str(caught.value)
    assert KEY not in repr(Settings())


def test_every_error_is_one_line_that_prints() -> None:
    error = InvalidArgument(f"a\nb \x1b[31m \u202e https://u:{KEY}@h/x?sig={KEY} 'http://h/?{KEY}' file:///a?b")
    assert str(error) == r"a b \x1b[31m \u202e https://h/x 'http://h/' file:///a?b"
    assert KEY not in repr(error)
    assert str(ReadError("x", f"https:/h/a?{KEY}")) == "https:/h/a: x"
    assert redact("abfss://container@account.dfs.core.windows.net/b?sig=1") == "abfss://container@account.dfs.core.windows.net/b"
    assert presentable("plain ü 漢") == "plain ü 漢"


@pytest.mark.parametrize("href", HREFS)
def test_hrefs_of_strangers(href: str) -> None:
    with pytest.raises(ReadError) as caught:
        remote_href(href)
    assert str(caught.value).isprintable()


def test_a_catalogue_on_a_server_reaches_nothing_here(world: World) -> None:
    """All of these as assets of items on a server: each one a failure by name; no local file is read, nobody else is asked."""
    secret = world.root / "secret.txt"
    hrefs = [href for href in HREFS if href and "\0" not in href]
    # a relative path is a place on the server that names it; those of this machine are made to exist
    hrefs += [
        str(secret),
        f"file://{secret}",
        f"file://localhost{secret}",
        str(Path("..") / "a.tif"),
        str(world.root / "a.tif"),
        f"file://{world.root}/a.tif",
    ]
    box = [14.9, 46.9, 15.1, 47.0]

    def answer(asked: Any) -> Reply:
        if asked.path == "/catalog.json":
            links = [{"rel": "item", "href": f"{number}.json"} for number in range(len(hrefs))]
            return Reply({"type": "Catalog", "stac_version": "1.0.0", "id": "x", "description": "", "links": links})
        number = asked.path.strip("/").removesuffix(".json")
        if not number.isdigit():
            return Reply(b"", 404)
        item = {"type": "Feature", "stac_version": "1.0.0", "id": f"i{number}", "geometry": None, "bbox": box, "links": []}
        return Reply(
            item | {"properties": {"datetime": "2024-01-01T00:00:00Z"}, "assets": {"red": {"href": hrefs[int(number)], "type": "image/tiff"}}}
        )

    with AnsweringServer(answer) as server:
        with pytest.raises(duckdb.Error, match=f"none of the {len(hrefs)} records has a readable file") as caught:
            world.rows(f"FROM rasteret_build_from_stac('{server.url}/catalog.json', NULL, name := 'built', band_map := {{'red': 'red'}})")
        assert SECRET not in str(caught.value)
        assert {asked.headers["host"] for asked in server.asked} == {server.url.removeprefix("http://")}
        assert not [asked for asked in server.asked if json.dumps(asked.path).find("passwd") >= 0 and not asked.path.startswith("/")]
    world.check()
    world.tidy()
