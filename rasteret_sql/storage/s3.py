"""S3's rules: which bucket is asked signed or unsigned, in which region, at whose cost.

Keys known: signed. None known: unsigned. A 403 turns it round once per read: unsigned for a bucket whose owner lets everybody read but not these
keys, signed with the keys of botocore's chain (which may ask the network, so it is not asked for public buckets). What a bucket wanted is remembered.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote, urlsplit

from rasteret_sql.settings import Settings
from rasteret_sql.storage import loop
from rasteret_sql.storage.answers import refusal
from rasteret_sql.storage.aws import Chain, Environment, read_environment
from rasteret_sql.storage.credentials import given_s3
from rasteret_sql.storage.hrefs import Location, redirect_target, s3_url, valid_host
from rasteret_sql.storage.metrics import Metrics
from rasteret_sql.storage.network import Network
from rasteret_sql.storage.retry import UnsentError
from rasteret_sql.storage.routes import Call, Refusal, Route
from rasteret_sql.storage.sigv4 import Keys, query_string, signed_headers

REQUESTER_PAYS = frozenset(
    {
        "usgs-landsat",
        "usgs-landsat-ard",
        "naip-analytic",
        "naip-source",
        "naip-visualization",
        "sentinel-s1-l1c",
        "sentinel-s2-l1c",
        "sentinel-s2-l2a",
    }
)
"""Public archives whose reader pays for the transfer (Registry of Open Data on AWS)."""
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d{1,2}")
_AWS_HOST = re.compile(r"([a-z0-9.-]+\.)?s3[.-]([a-z0-9-]+\.)?amazonaws\.com(\.cn)?")
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired", "RequestExpired"})
_KEYS_REFUSED = _EXPIRED | {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "AllAccessDisabled"}
_MEANING = {
    "SignatureDoesNotMatch": "the secret access key does not fit the key id",
    "InvalidAccessKeyId": "the access key id is not known there",
    "ExpiredToken": "the session token has expired: get new keys",
    "InvalidToken": "the session token is not valid: get new keys",
    "RequestTimeTooSkewed": "the clock of this machine is wrong by more than 15 minutes",
    "NoSuchKey": "no such file",
    "NoSuchBucket": "no such bucket",
    "AccessDenied": "access denied",
}
_HOW_TO_GIVE_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or rasteret_sql.s3_credentials(…)"

Mode = Literal["signed", "unsigned"]


class Buckets:
    """What was learned of buckets; one per event loop."""

    def __init__(self) -> None:
        self.regions: dict[tuple[str, str], str] = {}
        """By endpoint and bucket."""
        self.modes: dict[tuple[str, str, str], Mode] = {}
        """By endpoint, bucket and key id (empty for none): what worked when the first choice did not."""

    async def close(self) -> None:
        self.modes.clear()


@dataclass(slots=True)
class S3Rules:
    """The settings that concern S3, and the environment as it was when they were first needed."""

    endpoint: str
    region: str
    unsigned: str
    requester_pays: str
    _environment: Environment | None = field(default=None, repr=False)

    @classmethod
    def of(cls, settings: Settings) -> S3Rules:
        return cls(settings.s3_endpoint, settings.s3_region, settings.s3_unsigned, settings.s3_requester_pays)

    def environment(self) -> Environment:
        if self._environment is None:
            self._environment = read_environment()
        return self._environment

    def renewed(self) -> Environment:
        """Environment and files as they are now: another program may have put new keys there."""
        self._environment = None
        return self.environment()

    def wants_unsigned(self, bucket: str) -> bool:
        return _names(self.unsigned, bucket) or self.environment().unsigned

    def charged(self, bucket: str, endpoint: str) -> bool:
        """Is this bucket known to charge its readers? The archives at Amazon do; copies of theirs elsewhere need not."""
        return (bucket in REQUESTER_PAYS and not endpoint) or (self.requester_pays != "true" and _names(self.requester_pays, bucket))

    def pays(self, bucket: str) -> bool:
        """Has the user agreed to pay, should this bucket charge? Then signed requests say so."""
        return bucket in REQUESTER_PAYS or _names(self.requester_pays, bucket) or self.environment().requester_pays


def _names(setting: str, bucket: str) -> bool:
    return setting == "true" or (setting != "false" and bucket in setting.split(","))


@dataclass(slots=True, kw_only=True)
class S3Route(Route):
    """One object of S3, or one bucket (an empty key)."""

    bucket: str
    key: str
    rules: S3Rules
    endpoint: str
    keys: Keys | None
    mode: Mode = "unsigned"
    known: tuple[str, str, str] = field(default=("", "", ""), repr=False)
    """What the memory of :class:`Buckets` is filed under."""
    tried: set[str] = field(default_factory=set)
    first: Refusal | None = None
    """The refusal that turned signing round: the one to be told when that did not help."""
    _asked_region: str = ""
    """The region of the last request; empty for the global endpoint."""
    _reading: bool = True

    @classmethod
    def to(cls, location: Location, rules: S3Rules, network: Network, metrics: Metrics) -> S3Route:
        """The way to ``location``; InvalidArgument where AWS's own settings are wrong."""
        bucket, given, found = location.bucket, given_s3(location.bucket), rules.environment()
        endpoint = (given.endpoint if given else "") or rules.endpoint or found.endpoint
        host = (valid_host(endpoint) if endpoint else None) or location.host
        unsigned = rules.wants_unsigned(bucket)
        keys = None if unsigned else given.keys if given else found.keys
        made = cls(
            url=location.url or "",
            host=host,
            network=network,
            metrics=metrics,
            bucket=bucket,
            key=location.key,
            rules=rules,
            endpoint=endpoint,
            keys=keys,
        )
        made.known = (endpoint, bucket, keys.key_id if keys else "")
        if not unsigned:
            made.mode = loop.resource(Buckets).modes.get(made.known, "signed" if keys else "unsigned")
        return made

    @property
    def _region(self) -> str:
        """The bucket's own region where it is known; else the region that the user works in."""
        given = given_s3(self.bucket)
        return self._learned or (given.region if given else "") or self.rules.region or self.rules.environment().region

    @property
    def _learned(self) -> str:
        return loop.resource(Buckets).regions.get((self.endpoint, self.bucket), "")

    def begin(self) -> None:
        """A new attempt goes to the object's own place; what was learned on the way stays."""
        self.at = ""

    async def dress(self, call: Call) -> tuple[str, Mapping[str, str]]:
        """Signed where it is to be signed, and only for S3's own hosts."""
        charged = self.rules.charged(self.bucket, self.endpoint)
        self._reading = call.method in {"GET", "HEAD"}
        if self.mode == "unsigned" and (charged or not self._reading):
            await self._sign_anyway(charged)
        keys = await self._keys_now() if self.mode == "signed" else None
        self._asked_region = self._region if keys else self._learned or self.rules.region
        url = self.at = self.at or s3_url(self.endpoint, self.bucket, self._asked_region) + quote(self.key)
        if call.query:
            url = f"{url.partition('?')[0]}?{query_string(call.query)}"
        if keys is None or not self._trusted(url):
            return url, call.headers
        headers = {**call.headers, "x-amz-request-payer": "requester"} if self.rules.pays(self.bucket) else call.headers
        return url, signed_headers(keys, self._region or "us-east-1", call.method, url, headers, time.time(), call.payload_sha256)

    async def _sign_anyway(self, charged: bool) -> None:
        """What somebody is charged for is signed, if need be with the chain's keys; and so is writing, unless it is to be unsigned."""
        unsigned = self.rules.wants_unsigned(self.bucket)
        if unsigned and not charged:
            return
        if unsigned or await self._keys_now() is None:
            hint = "but rasteret_s3_unsigned or AWS_NO_SIGN_REQUEST forbids it" if unsigned else self._how_to_give_keys()
            why = "is requester-pays: reading it is charged to your AWS account" if charged else "is to be written to"
            raise UnsentError(f"s3://{self.bucket} {why}, so requests must be signed; {hint}")
        self.mode, self.at = "signed", ""

    def _how_to_give_keys(self) -> str:
        return self.rules.environment().hint or f"set {_HOW_TO_GIVE_KEYS}"

    async def _keys_now(self) -> Keys | None:
        if self.keys is None:
            self.keys = await loop.resource(Chain).keys()
        return self.keys

    def _trusted(self, url: str) -> bool:
        """Does ``url`` lie at the store that the keys are for? A redirect elsewhere takes no signature and no session token along."""
        parts = urlsplit(url)
        if self.endpoint:
            own = urlsplit(self.endpoint)
            return (parts.scheme, parts.netloc.lower()) == (own.scheme, own.netloc.lower())
        return parts.scheme == "https" and _AWS_HOST.fullmatch(parts.netloc.lower()) is not None

    def redirected(self, location: str | None, region: str | None) -> bool:
        """To the bucket's region where S3 names it, else by Location."""
        if self._learn(region):
            return True
        target = redirect_target(self.at, location, None) if location else None
        if target is None:
            return False
        self.at = target
        return True

    def _learn(self, region: str | None) -> bool:
        """Take over the bucket's region from S3's answer; True when it is another than was asked, so that asking again helps."""
        if region is None or not _REGION.fullmatch(region) or not self._trusted(self.at):
            return False
        loop.resource(Buckets).regions[self.endpoint, self.bucket] = region
        if region == self._asked_region or "region" in self.tried:
            return False
        self.tried.add("region")
        self.at = ""
        return True

    async def refused(self, answer: Refusal) -> bool:
        """Another region, renewed keys, or signing turned round: each once."""
        if self._learn(answer.region) and self.mode == "signed" and answer.status in {400, 401, 403}:
            return True
        if answer.status != 403 and answer.code not in _KEYS_REFUSED:
            return False
        if self.mode == "signed" and answer.code in _EXPIRED and await self._renew():
            return True
        return self._reading and await self._turn(answer)

    async def _renew(self) -> bool:
        """New keys in the place of expired ones."""
        if "renewed" in self.tried or self.keys is None:
            return False
        self.tried.add("renewed")
        old, given = self.keys, given_s3(self.bucket)
        loop.resource(Chain).forget(old)
        fresh = given.keys if given else self.rules.renewed().keys or await loop.resource(Chain).keys()
        self.keys = fresh or old
        return self.keys != old

    async def _turn(self, answer: Refusal) -> bool:
        """Sign what was not, or leave unsigned what was signed, where that is allowed. Once a read, whatever other files of the bucket wanted."""
        if "turned" in self.tried:
            return False
        self.tried.add("turned")
        if self.mode == "signed" and not self.rules.charged(self.bucket, self.endpoint):
            self.mode = "unsigned"
        elif self.mode == "unsigned" and not self.rules.wants_unsigned(self.bucket) and await self._keys_now() is not None:
            self.mode = "signed"
        else:
            return False
        self.first, self.at = answer, ""
        return True

    def accepted(self) -> None:
        """Remember what the bucket wanted."""
        if self.first is not None:
            loop.resource(Buckets).modes[self.known] = self.mode
            self.first = None

    def explain(self, answer: Refusal) -> str:
        """S3's code and message, and what to set."""
        if self.first is not None and self.mode == "unsigned" and (answer.status in {401, 403} or answer.code in _KEYS_REFUSED):
            answer = self.first
        signed = self.keys is not None and (self.mode == "signed" or answer is self.first)
        meaning = _MEANING.get(answer.code, "access denied" if answer.status == 403 else "")
        return refusal(answer.status, self.shown(answer), meaning) + self._advice(answer, signed)

    def _advice(self, answer: Refusal, signed: bool) -> str:
        if answer.status != 403 and answer.code not in _KEYS_REFUSED:
            return ""
        if not signed:
            if self.rules.wants_unsigned(self.bucket):
                return "; asked unsigned, as AWS_NO_SIGN_REQUEST or rasteret_s3_unsigned says"
            return f"; asked unsigned, since no AWS keys are known: {self._how_to_give_keys()}"
        source = f"; keys of {self.keys.source}" if self.keys else ""
        if answer.code == "AccessDenied" and not self.rules.pays(self.bucket):
            source += f" (a requester-pays bucket is named in rasteret_s3_requester_pays = '{self.bucket}')"
        return source

    def hidden(self) -> Sequence[str]:
        return self.keys.hidden if self.keys else ()
