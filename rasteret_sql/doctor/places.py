"""Places that the user names: a URL or file and how it answers, a collection and its first file, the public services of the dataset catalogue."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import duckdb

from rasteret_sql.collection.datasets import api_root
from rasteret_sql.collection.links import known_names
from rasteret_sql.collection.registry import datasets
from rasteret_sql.doctor.findings import Finding, broken, note, ok, size
from rasteret_sql.errors import RasteretError, ReadError, near, one_line, redact
from rasteret_sql.reader.engine import Query
from rasteret_sql.reader.headers import FileHeader, read_headers
from rasteret_sql.settings import Settings
from rasteret_sql.sql.extension import connect
from rasteret_sql.sql.quote import text
from rasteret_sql.storage.documents import DocumentRequest, fetch_document
from rasteret_sql.storage.loop import run
from rasteret_sql.storage.metrics import Metrics
from rasteret_sql.storage.probe import TIMEOUT_S, Host, Look, look_at, proxy_of, reach, target_of
from rasteret_sql.storage.retry import RetryPolicy

HEAD_BYTES = 32 << 10
"""What a build asks for first."""
MOST_BYTES = 4 << 20
"""Read to measure the rate."""
_SKEW_S = 300.0
"""S3 refuses signatures that are 15 minutes off; from five on it is worth a word."""
_SOON = timedelta(days=14)


def check_place(place: str, settings: Settings) -> Iterator[Finding]:
    """A URL, a path or a collection's name."""
    for finding in _place(place, settings):
        yield finding if finding.place else finding.of(redact(place))


def _place(place: str, settings: Settings) -> Iterator[Finding]:
    if "://" in place:
        yield from check_url(place, settings)
    elif place in known_names(settings.workspace):
        yield from check_collection(place, settings)
    elif Path(place).is_file() and not place.endswith((".parquet", ".geoparquet")):
        yield from _header(place, settings)
    elif Path(place).exists():
        yield from check_collection(place, settings)
    else:
        names = known_names(settings.workspace)
        yield broken("place", f"no URL, no file, and no collection{near(place, names)}", "rasteret-sql collections list shows the names")


def check_url(href: str, settings: Settings) -> Iterator[Finding]:
    """Name, connection, certificate, clock; then what a read does: a range, its ETag, how fast it comes."""
    for finding in _url(href, settings):
        yield finding.of(redact(href))


def _url(href: str, settings: Settings) -> Iterator[Finding]:
    try:
        target = target_of(href, settings)
    except ReadError as error:
        yield broken("url", _said(error, href), "give a URL of one file: https://, s3://, gs://, az://")
        return
    if not target:
        yield from _header(href, settings)
        return
    proxy = proxy_of(target)
    if proxy is not None:
        yield ok("proxy", f"goes through the proxy {urlsplit(proxy).hostname}")
    else:
        host = reach(target)
        yield from _host(host, urlsplit(target).scheme)
        if host.failed:
            return
    look = look_at(href, settings, 0, HEAD_BYTES, head=True)
    if look.error is not None:
        yield broken("range", _said(look.error, href), _advice(look, href))
        return
    yield from _answer(look)
    yield from _rate(href, look, settings)
    if urlsplit(target).path.lower().endswith((".tif", ".tiff")):
        yield from _header(href, settings)


def _host(host: Host, scheme: str) -> Iterator[Finding]:
    match host.failed:
        case "name":
            yield broken(
                "name",
                f"the name {host.name} is not known: {host.reason}",
                "check the spelling, the network and its DNS; behind a proxy: export https_proxy=http://…",
            )
            return
        case "connect":
            fix = "check host and port, and that the server runs; behind a firewall: export https_proxy=http://…"
            yield broken("connection", f"{host.name} takes no connection: {host.reason}", fix)
            return
        case "certificate":
            fix = "export SSL_CERT_FILE=<the file of the authority that signed it>; where a company's proxy opens TLS, its authority"
            yield broken("certificate", f"the certificate of {host.name} is not trusted: {host.reason}", fix)
            return
        case "tls":
            yield broken("tls", f"{host.name} speaks no TLS that we understand: {host.reason}", "is it http:// rather than https://?")
            return
    lasts = f", certificate good until {host.certificate_ends:%Y-%m-%d}" if host.certificate_ends else ""
    yield ok("connection", f"{host.name} connected in {host.connect_s * 1000:,.0f} ms by {scheme}{lasts}")
    if host.certificate_ends and host.certificate_ends - datetime.now(UTC) < _SOON:
        yield note("certificate", f"its certificate ends on {host.certificate_ends:%Y-%m-%d}", "tell who runs the server")
    if host.skew_s is not None and abs(host.skew_s) > _SKEW_S:
        behind = "behind" if host.skew_s > 0 else "ahead of"
        text_ = f"this machine's clock is {abs(host.skew_s) / 60:,.0f} minutes {behind} the server's: signatures will be refused"
        yield broken("clock", text_, "set the clock: sudo timedatectl set-ntp true")


def _answer(look: Look) -> Iterator[Finding]:
    said = f"206, {look.headers.get('Content-Range', '')}, first byte after {look.first_s * 1000:,.0f} ms"
    if look.headers.get("ETag"):
        yield ok("range", f"gives the range that was asked for ({said}, ETag)")
    else:
        yield note(
            "range", f"gives the range that was asked for ({said}), but no ETag", "after the file changed, build its collection again: force := true"
        )


def _rate(href: str, look: Look, settings: Settings) -> Iterator[Finding]:
    wanted = min(look.size or 0, MOST_BYTES)
    if wanted <= HEAD_BYTES:
        return
    began = time.monotonic()
    more = look_at(href, settings, 0, wanted, head=False)
    if more.error is not None:
        yield broken("rate", _said(more.error, href), "try again; a server that cuts ranges short cannot be read from")
        return
    seconds = time.monotonic() - began
    yield ok(
        "rate", f"{size(more.nbytes)} of {size(look.size or 0)} in {seconds:.2f} s: {more.nbytes / 1e6 / max(seconds, 1e-6):,.1f} MB/s by one request"
    )


def _header(href: str, settings: Settings) -> Iterator[Finding]:
    """Is it a GeoTIFF that can be read, and one that is good to read from?"""
    with Query("doctor", settings, raise_errors=False) as query:
        (found,) = read_headers([href], query)
    if not isinstance(found, FileHeader):
        yield broken("geotiff", _said(found, href), "only GeoTIFFs are read; gdalinfo says what the file is")
        return
    header = found.header
    first = header.levels[0]
    shape = f"{first.width:,} x {first.height:,} pixels, {first.layout.tile_width} x {first.layout.tile_height} a tile"
    yield ok("geotiff", f"GeoTIFF, {shape}, {len(header.levels) - 1} overviews")
    if not first.layout.tiled and first.width * first.height > 1 << 22:
        yield note(
            "geotiff", "it is in strips, not tiles: more is read than is wanted", f"gdal_translate -of COG {Path(redact(href)).name} tiled.tif"
        )


def check_collection(name: str, settings: Settings) -> Iterator[Finding]:
    """Does it open, and does its first file answer?"""
    try:
        with connect() as con:
            con.execute("SET VARIABLE rasteret_workspace = $folder", {"folder": settings.workspace}).fetchall()
            (count,) = con.execute(f"SELECT count(*) FROM rasteret_collection({text(name)})").fetchall()[0]
            rows = con.execute(f"SELECT id, assets FROM rasteret_collection({text(name)}) LIMIT 1").fetchall()
    except (duckdb.Error, RasteretError) as error:
        yield broken("collection", one_line(str(error).splitlines()[0]), f"build it again, or: rasteret-sql collections delete {name}")
        return
    yield ok("collection", f"{count:,} records")
    for record, assets in rows:
        band, href = next(((band, asset["href"]) for band, asset in assets.items() if asset and asset.get("href")), ("", ""))
        if href:
            yield ok("collection", f"first file: {band} of {record}")
            yield from check_url(href, settings)


def check_network(settings: Settings) -> Iterator[Finding]:
    """The public services that the dataset catalogue names."""
    known = datasets(settings.workspace).values()
    apis = dict.fromkeys(api_root(dataset, settings.stac_endpoints) for dataset in known if dataset.is_stac)
    for api in apis:
        if api.startswith(("http://", "https://")):
            for finding in _service(api):
                yield finding.of(redact(api))
    for dataset in known:
        if dataset.index_url:
            yield from check_url(dataset.index_url, settings)


def _service(api: str) -> Iterator[Finding]:
    host = reach(api) if proxy_of(api) is None else None
    if host is not None:
        yield from _host(host, urlsplit(api).scheme)
        if host.failed:
            return
    began = time.monotonic()
    try:
        document = run(fetch_document(DocumentRequest(api), Metrics(), deadline=time.monotonic() + TIMEOUT_S, policy=RetryPolicy(attempts=1)))
    except ReadError as error:
        yield broken("service", _said(error, api), "try again later; RASTERET_STAC_ENDPOINTS names a mirror")
        return
    title = document.data.get("title") or document.data.get("id") if isinstance(document.data, dict) else None
    yield ok("service", f"answers in {time.monotonic() - began:.2f} s: {one_line(str(title), 80)}")


def _said(error: RasteretError, href: str) -> str:
    """The error without the name of the place, which the line has already."""
    return str(error).removeprefix(f"{redact(href)}: ")


def _advice(look: Look, href: str) -> str:
    status = (look.error.status if look.error else None) or look.status
    said = str(look.error)
    if "SignatureDoesNotMatch" in said or "InvalidAccessKeyId" in said:
        return "the keys are wrong: see `aws` above for where they come from"
    if "RequestTimeTooSkewed" in said:
        return "set the clock: sudo timedatectl set-ntp true"
    advice = {
        200: "put the file on a server that answers range requests (object storage, nginx, Apache), or download it",
        401: "keys, tokens and headers: docs/access.md",
        403: "keys, tokens and headers: docs/access.md",
        404: "check bucket and key" if href.startswith("s3://") else "check the path: it must be the file's own URL, not a folder's or a page's",
    }
    return advice.get(status, "try again; if it stays, ask who runs the server")
