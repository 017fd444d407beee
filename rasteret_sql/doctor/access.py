"""What requests carry and pass through: proxies, certificates, credentials. Where they come from is said, never what they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from rasteret_sql.doctor.findings import Finding, broken, note, ok
from rasteret_sql.errors import InvalidArgument
from rasteret_sql.settings import Settings
from rasteret_sql.storage.aws import has_botocore, read_environment
from rasteret_sql.storage.credentials import headers_for

_OTHER_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "GDAL_CURL_CA_BUNDLE")
"""Read by other programs, not by Python's ssl."""


def check_access(settings: Settings) -> Iterator[Finding]:
    yield from _proxies()
    yield from _certificates()
    yield from _aws(settings)
    yield from _azure()
    yield from _headers()


def _proxies() -> Iterator[Finding]:
    proxies = {scheme: url for scheme, url in getproxies().items() if scheme in {"http", "https", "all"}}
    if not proxies:
        yield ok("proxy", "none")
        return
    for scheme, url in sorted(proxies.items()):
        try:
            place = urlsplit(url if "://" in url else f"http://{url}")
            port = place.port
        except ValueError:
            place, port = urlsplit(""), None
        if not place.hostname:
            yield broken("proxy", f"{scheme}_proxy is no URL", f"export {scheme}_proxy=http://host:port, or unset it")
        else:
            yield ok("proxy", f"{scheme} goes through {place.hostname}{f':{port}' if port else ''}; not for: {os.environ.get('no_proxy') or 'none'}")


def _certificates() -> Iterator[Finding]:
    for name, is_there in (("SSL_CERT_FILE", Path.is_file), ("SSL_CERT_DIR", Path.is_dir)):
        value = os.environ.get(name)
        if value and not is_there(Path(value)):
            yield broken("certificates", f"{name} = {value}: there is no such {'file' if name.endswith('FILE') else 'folder'}", f"unset {name}")
        elif value:
            yield ok("certificates", f"{name} = {value}")
    others = [name for name in _OTHER_BUNDLES if os.environ.get(name)]
    if others and not os.environ.get("SSL_CERT_FILE"):
        text = f"{others[0]} is set, which Python's ssl does not read"
        yield note("certificates", text, f"export SSL_CERT_FILE=${others[0]}")


def _aws(settings: Settings) -> Iterator[Finding]:
    try:
        found = read_environment()
    except InvalidArgument as error:
        yield broken("aws", str(error), "set the variable to what is there, or unset it")
        return
    if settings.s3_unsigned == "true" or found.unsigned:
        yield ok("aws", "s3:// is read without signing (rasteret_s3_unsigned or AWS_NO_SIGN_REQUEST)")
    elif found.keys is not None:
        endpoint = settings.s3_endpoint or found.endpoint
        where = f", endpoint {endpoint}" if endpoint else ""
        yield ok("aws", f"keys from {found.keys.source}, region {settings.s3_region or found.region or 'us-east-1 until a bucket says'}{where}")
    elif found.hint:
        yield note("aws", found.hint, "pip install 'rasteret-sql[aws]'")
    else:
        chain = "; botocore's chain is asked when a bucket refuses" if has_botocore() else ""
        yield ok("aws", f"no keys: public buckets are read without signing{chain}")


def _azure() -> Iterator[Finding]:
    token, account = os.environ.get("AZURE_STORAGE_SAS_TOKEN"), os.environ.get("AZURE_STORAGE_ACCOUNT")
    if token and not account:
        text = "AZURE_STORAGE_SAS_TOKEN is set, but not for which account"
        yield note("azure", text, "export AZURE_STORAGE_ACCOUNT=<account>")
    elif token:
        yield ok("azure", f"a SAS token for account {account} from AZURE_STORAGE_SAS_TOKEN")


def _headers() -> Iterator[Finding]:
    if not os.environ.get("RASTERET_HTTP_HEADERS"):
        return
    try:
        headers_for("https://localhost/")
    except InvalidArgument as error:
        yield broken("headers", str(error), """export RASTERET_HTTP_HEADERS='{"data.example.org": {"Authorization": "Bearer …"}}'""")
    else:
        yield ok("headers", "RASTERET_HTTP_HEADERS names headers for hosts")
