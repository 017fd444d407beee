"""Signatures, judged by botocore's signer."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from rasteret_sql.storage.hrefs import s3_url
from rasteret_sql.storage.sigv4 import EMPTY_SHA256, Keys, query_string, signed_headers

KEY_ID, SECRET, TOKEN = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "FwoGZXIvYXdzE/+token=="
NOW = 1_369_353_600.0  # 2013-05-24T00:00:00Z
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30) | st.text("/ +~%?#&=é*'()!$,:;@._-", min_size=1, max_size=20)


def botocores(method, url, headers, payload, token, region, monkeypatch):
    """The Authorization header as botocore makes it, at NOW."""
    request = AWSRequest(method, url, headers=headers, data=payload or b"")
    moment = datetime.fromtimestamp(NOW, UTC)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: moment)
    S3SigV4Auth(Credentials(KEY_ID, SECRET, token), "s3", region).add_auth(request)
    return request.headers


def test_the_example_of_the_documentation():
    """Amazon S3 API reference, "Signature Calculations for the Authorization Header", example GET object."""
    found = signed_headers(Keys(KEY_ID, SECRET), "us-east-1", "GET", "https://examplebucket.s3.amazonaws.com/test.txt", {"range": "bytes=0-9"}, NOW)
    assert found["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )
    assert found["x-amz-content-sha256"] == EMPTY_SHA256
    assert "host" not in found


@settings(max_examples=150, deadline=None)
@given(
    key=TEXT,
    endpoint=st.sampled_from(["", "http://127.0.0.1:9000", "https://store.example:443", "http://store.example:80"]),
    bucket=st.sampled_from(["plain", "dots.in.it"]),
    method=st.sampled_from(["GET", "PUT", "HEAD", "DELETE"]),
    payload=st.none() | st.binary(max_size=20),
    token=st.none() | st.just(TOKEN),
    region=st.sampled_from(["us-east-1", "eu-central-1"]),
)
def test_botocore_agrees(key, endpoint, bucket, method, payload, token, region):
    url = s3_url(endpoint, bucket, region) + quote(key)
    headers = {"range": "bytes=5-9", "x-amz-request-payer": "requester"}
    mine = signed_headers(Keys(KEY_ID, SECRET, token), region, method, url, headers, NOW, hashlib.sha256(payload or b"").hexdigest())
    with pytest.MonkeyPatch.context() as patch:
        theirs = botocores(method, url, {"X-Amz-Content-SHA256": mine["x-amz-content-sha256"], **headers}, payload, token, region, patch)
    assert mine["authorization"] == theirs["Authorization"]
    assert mine["x-amz-date"] == theirs["X-Amz-Date"]
    assert mine.get("x-amz-security-token") == theirs.get("X-Amz-Security-Token")


@settings(max_examples=80, deadline=None)
@given(prefix=TEXT, token=TEXT)
def test_botocore_agrees_on_queries(prefix, token):
    url = f"https://b.s3.amazonaws.com/?{query_string([('list-type', '2'), ('prefix', prefix), ('continuation-token', token)])}"
    mine = signed_headers(Keys(KEY_ID, SECRET), "us-east-1", "GET", url, {}, NOW)
    with pytest.MonkeyPatch.context() as patch:
        theirs = botocores("GET", url, {"X-Amz-Content-SHA256": EMPTY_SHA256}, None, None, "us-east-1", patch)
    assert mine["authorization"] == theirs["Authorization"]


def test_it_is_cheap():
    """About 10 µs a request; 100 is a loaded machine's."""
    keys, url = Keys(KEY_ID, SECRET, TOKEN), "https://b.s3.us-west-2.amazonaws.com/some/long/key/of/a/scene/B04.tif"
    best = 1.0
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(200):
            signed_headers(keys, "us-west-2", "GET", url, {"range": "bytes=0-32767"}, NOW)
        best = min(best, (time.perf_counter() - began) / 200)
    assert best < 100e-6


def test_keys_show_nothing():
    shown = repr(Keys(KEY_ID, SECRET, TOKEN))
    assert not any(secret in shown for secret in (KEY_ID, SECRET, TOKEN))
