"""Azure's rules: a blob is asked plainly, with the SAS token that the user gave, or with one of a token service.

Which containers need a token is not in any href. So a container is asked plainly first; when it refuses, the service is asked for a token, and
what it answers is remembered: from then on every request carries the token, or none does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from rasteret_sql.storage import loop
from rasteret_sql.storage.answers import refusal
from rasteret_sql.storage.credentials import given_sas, headers_for
from rasteret_sql.storage.hrefs import Location, redirect_target, valid_host
from rasteret_sql.storage.metrics import Metrics
from rasteret_sql.storage.network import Network
from rasteret_sql.storage.retry import TransientError
from rasteret_sql.storage.routes import Call, Refusal, Route
from rasteret_sql.storage.sas import Key, SasTokens

_CLOSED = frozenset({401, 403, 404, 409})
"""How Azure refuses anonymous readers: 404 hides private containers, 409 is PublicAccessNotPermitted."""
_MEANING = {
    "AuthenticationFailed": "the SAS token has expired or is not valid",
    "AuthorizationPermissionMismatch": "the SAS token does not allow reading",
    "AuthorizationFailure": "access denied",
    "NoAuthenticationInformation": "the container is private",
    "PublicAccessNotPermitted": "the storage account allows no anonymous access",
    "BlobNotFound": "no such file",
    "ContainerNotFound": "no such container",
    "ResourceNotFound": "no such file, or a private container",
}


@dataclass(slots=True, kw_only=True)
class AzureRoute(Route):
    """One blob."""

    account: str
    container: str
    service: Key
    signed: bool
    """The href brings a signature of its own."""
    exposed: bool
    """The href goes over plain http, where no token is sent."""
    given: str | None = field(repr=False)
    """The user's own token."""
    token: str | None = field(default=None, repr=False)
    """The service's token, as the last request carried it."""
    tried: set[str] = field(default_factory=set)

    @classmethod
    def to(cls, location: Location, endpoint: str, sas_api: str, network: Network, metrics: Metrics) -> AzureRoute:
        """The way to a blob, at Azure or at ``endpoint`` (``endpoint/account/container/blob``)."""
        url, host = location.url or "", location.host
        parts = urlsplit(url)
        if endpoint:
            url = f"{endpoint}/{location.account}{parts.path}" + (f"?{parts.query}" if parts.query else "")
            host = valid_host(endpoint) or host
        signed = any(name == "sig" for name, _ in parse_qsl(parts.query))
        exposed = parts.scheme != "https" and not endpoint
        given = None if signed or exposed else given_sas(location.account, location.bucket)
        return cls(
            url=url,
            host=host,
            network=network,
            metrics=metrics,
            account=location.account,
            container=location.bucket,
            service=(sas_api, location.account, location.bucket),
            signed=signed,
            exposed=exposed,
            given=given,
        )

    def begin(self) -> None:
        """A new attempt goes to the blob's own place."""
        self.at = self.url

    async def dress(self, call: Call) -> tuple[str, Mapping[str, str]]:
        """With a token in the query where one is due; not where a redirect led elsewhere."""
        own, here = urlsplit(self.url), urlsplit(self.at)
        if (own.scheme, own.netloc) != (here.scheme, here.netloc) or self.signed or self.exposed:
            return self.at, call.headers
        if headers := headers_for(self.at):
            return self.at, {**headers, **call.headers}
        token = self.given or await self._service_token()
        if token is None:
            return self.at, call.headers
        return f"{self.at}{'&' if here.query else '?'}{token}", call.headers

    async def _service_token(self) -> str | None:
        tokens = loop.resource(SasTokens)
        self.token = None
        if self.service[0] and ("asked" in self.tried or tokens.known(self.service)):
            self.token = await tokens.get(self.service, self.network, self.metrics)
        return self.token

    def redirected(self, location: str | None, region: str | None) -> bool:
        """By Location alone."""
        del region
        target = redirect_target(self.at, location, None)
        if target is None:
            return False
        self.at = target
        return True

    async def refused(self, answer: Refusal) -> bool:
        """Ask for a token, or for another in the place of an expired one: each once."""
        if answer.status not in _CLOSED or self.signed or self.exposed or self.given or not self.service[0] or headers_for(self.url):
            return False
        tokens, self.at = loop.resource(SasTokens), self.url
        if self.token is not None:
            if answer.status not in {401, 403} or "renewed" in self.tried:
                return False
            self.tried.add("renewed")
            tokens.drop(self.service, self.token)
            return True
        if "asked" in self.tried or tokens.is_open(self.service):
            return False
        self.tried.add("asked")
        try:
            token = await tokens.get(self.service, self.network, self.metrics)
        except TransientError as failure:
            self.tried.discard("asked")
            raise TransientError(f"{self.explain(answer)}, and {failure}", failure.retry_after_s) from None
        return token is not None

    def explain(self, answer: Refusal) -> str:
        """Azure's code and message, and what to do."""
        said = refusal(answer.status, self.shown(answer), _MEANING.get(answer.code, ""))
        if answer.status in {404, 410} and answer.code != "ResourceNotFound":
            return said
        if self.signed:
            return f"{said}; the signature is the href's own: index with plain hrefs and give the token by rasteret_sql.azure_sas(…)"
        if self.exposed:
            return f"{said}; no token is sent over plain http: index with https:// or az:// hrefs"
        if self.given:
            return f"{said}; the token given for {self.account}/{self.container} was sent"
        if self.token:
            return f"{said}; a new token of {urlsplit(self.service[0]).hostname} was sent"
        return f"{said}; give a token by rasteret_sql.azure_sas(…), or AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_SAS_TOKEN"

    def hidden(self) -> Sequence[str]:
        tokens = [token for token in (self.given, self.token, urlsplit(self.url).query) if token]
        return [value for token in tokens for name, value in parse_qsl(token) if name == "sig"] + tokens
