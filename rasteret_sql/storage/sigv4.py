"""AWS Signature Version 4 in request headers. Pure.

Source: AWS, "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)", Amazon S3 API reference.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from time import gmtime, strftime
from urllib.parse import quote, urlsplit

_PORTS = {"http": 80, "https": 443}
"""Not written into the Host header, so not signed."""
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Keys:
    """Credentials for S3. ``repr`` shows where they come from, nothing of what they are."""

    key_id: str = field(repr=False)
    secret: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    source: str = "the Python call"
    """Where they were found, in words for messages."""

    @property
    def hidden(self) -> tuple[str, ...]:
        """What no message may show."""
        return tuple(text for text in (self.secret, self.session_token, self.key_id) if text and len(text) > 3)


def query_string(pairs: Sequence[tuple[str, str]]) -> str:
    """Parameters as they are sent and signed: sorted, all but unreserved characters encoded."""
    return "&".join(f"{name}={value}" for name, value in sorted((quote(n, safe="-_.~"), quote(v, safe="-_.~")) for n, v in pairs))


def signed_headers(
    keys: Keys, region: str, method: str, url: str, headers: Mapping[str, str], now: float, payload_sha256: str = EMPTY_SHA256
) -> dict[str, str]:
    """``headers`` (names in lower case) and those that sign them.

    ``url`` is percent-encoded as it will be sent, its query sorted (:func:`query_string`); ``now`` is in seconds since the epoch, by a clock
    that is right to 15 minutes. S3 signs the path encoded once, as sent, and wants the body's SHA-256 in a header.
    """
    parts = urlsplit(url)
    stamp = strftime("%Y%m%dT%H%M%SZ", gmtime(now))
    default = f":{_PORTS.get(parts.scheme)}"
    signed = {**headers, "host": parts.netloc.rpartition("@")[2].removesuffix(default), "x-amz-content-sha256": payload_sha256, "x-amz-date": stamp}
    if keys.session_token:
        signed["x-amz-security-token"] = keys.session_token
    names = ";".join(sorted(signed))
    canonical = "".join(f"{name}:{signed[name].strip()}\n" for name in sorted(signed))
    request = f"{method}\n{parts.path or '/'}\n{parts.query}\n{canonical}\n{names}\n{payload_sha256}"
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.digest(_signing_key(keys.secret, stamp[:8], region), text.encode(), "sha256").hex()
    signed["authorization"] = f"AWS4-HMAC-SHA256 Credential={keys.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    del signed["host"]  # the client writes it from the URL
    return signed


@lru_cache(maxsize=64)
def _signing_key(secret: str, day: str, region: str) -> bytes:
    """The key of one day and region: four of the five digests of a signature."""
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
