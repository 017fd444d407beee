"""How one file is asked for: where requests go, what they carry, what becomes of a refusal. Here the web's way; S3's and Azure's are beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from rasteret_sql.errors import one_line
from rasteret_sql.storage.answers import refusal
from rasteret_sql.storage.credentials import header_hint, headers_for
from rasteret_sql.storage.hrefs import bucket_root, redirect_target
from rasteret_sql.storage.metrics import Metrics
from rasteret_sql.storage.network import Network
from rasteret_sql.storage.sigv4 import EMPTY_SHA256

_CODE = re.compile(rb"<Code>\s*([A-Za-z]{1,64})\s*</Code>")
_MESSAGE = re.compile(rb"<Message>(.{1,1000}?)</Message>", re.DOTALL)
_REGION = re.compile(rb"<Region>([a-z0-9-]{1,40})</Region>")
_SIGNED = re.compile(r"((?:\bsig|signature|token|credential|password|secret)\s*=\s*)[^\s&]+", re.IGNORECASE)
_S3_WEB = re.compile(r"(?:(?P<bucket>[a-z0-9.-]+)\.)?s3[.-](?:[a-z0-9-]+\.)?amazonaws\.com(?:\.cn)?")


@dataclass(frozen=True, slots=True)
class Call:
    """What one request does, apart from where it goes."""

    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    query: Sequence[tuple[str, str]] = ()
    """Parameters, of S3's own operations only."""
    payload: bytes | None = field(default=None, repr=False)
    payload_sha256: str = EMPTY_SHA256


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is no success and no redirect."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)

    @property
    def code(self) -> str:
        """The store's own name of the error; empty where it names none."""
        found = _CODE.search(self.body)
        return found[1].decode() if found else self.headers.get("x-ms-error-code", "")

    @property
    def message(self) -> str:
        """The store's own words, on one line, without Azure's request number and time."""
        found = _MESSAGE.search(self.body)
        text = found[1].decode("utf-8", "replace") if found else ""
        return one_line(re.split(r"\bRequestId:", text)[0], 200)

    @property
    def region(self) -> str | None:
        """Where S3 says that the bucket is."""
        found = _REGION.search(self.body)
        return self.headers.get("x-amz-bucket-region") or (found[1].decode() if found else None)


@dataclass(slots=True, kw_only=True)
class Route:
    """One href on its way over the web, as its URL says. Lives as long as one read; each attempt starts anew with :meth:`begin`."""

    url: str = field(repr=False)
    host: str
    """Whose limits and counters apply."""
    network: Network = field(repr=False)
    metrics: Metrics = field(repr=False)
    at: str = field(default="", repr=False)
    """The URL asked now: ``url`` or where redirects led."""

    def begin(self) -> None:
        """A new attempt."""
        self.at = self.url
        if self.network.regions and (region := self.network.regions.get(bucket_root(self.url))):
            self.at = redirect_target(self.url, None, region) or self.url

    async def dress(self, call: Call) -> tuple[str, Mapping[str, str]]:
        """The URL and the headers to send now."""
        given = headers_for(self.at)
        return self.at, {**_without_authorization(given, self.at), **call.headers} if given else call.headers

    def redirected(self, location: str | None, region: str | None) -> bool:
        """Follow a redirect; False when it leads to no http(s) URL."""
        target = redirect_target(self.at, location, region)
        if target is None:
            return False
        if region is not None and (root := bucket_root(self.at)):
            self.network.regions[root] = region
        self.at = target
        return True

    async def refused(self, answer: Refusal) -> bool:
        """True when the next request will differ in a way that may help. Never true twice for the same reason."""
        del answer
        return False

    def accepted(self) -> None:
        """The last request was answered."""

    def explain(self, answer: Refusal) -> str:
        """The message for a refusal: what it means, what the server said, what to do."""
        said = refusal(answer.status, self.shown(answer))
        if answer.status in {401, 403}:
            if (found := _S3_WEB.fullmatch(urlsplit(self.url).hostname or "")) and "ignature=" not in self.url:
                return f"{said}; to have requests signed, give s3://{found['bucket'] or ''}… instead of https://"
            return said + (header_hint(self.at) or _header_advice(self.at, answer.status))
        return said

    def shown(self, answer: Refusal) -> str:
        """``Code: message`` of the store without secrets."""
        text = f"{answer.code}: {answer.message}" if answer.code and answer.message else answer.code
        for secret in self.hidden():
            text = text.replace(secret, "***")
        return _SIGNED.sub(r"\1***", text)

    def hidden(self) -> Sequence[str]:
        """Secrets that requests carry."""
        return [value for value in headers_for(self.at).values() if len(value) > 3]


def _header_advice(url: str, status: int) -> str:
    host = urlsplit(url).netloc.rpartition("@")[2]
    if host == "storage.googleapis.com":
        return "; gs:// is read without credentials: rasteret_sql.http_headers('storage.googleapis.com', {'Authorization': 'Bearer …'}) adds a token"
    return f"; give them by rasteret_sql.http_headers('{host}', …)" if status == 401 else ""


def _without_authorization(headers: Mapping[str, str], url: str) -> Mapping[str, str]:
    """User and password in the URL make a header of their own."""
    if "@" not in urlsplit(url).netloc:
        return headers
    return {name: value for name, value in headers.items() if name.lower() != "authorization"}
