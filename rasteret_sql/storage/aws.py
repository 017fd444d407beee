"""Where AWS keeps keys, region and endpoint: environment, profile files, and, with the ``aws`` extra, botocore's whole chain.

Names and order are those of the AWS SDKs (AWS SDKs and Tools reference guide, "Settings reference").
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import time
from collections.abc import Mapping
from configparser import Error, RawConfigParser
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rasteret_sql.errors import InvalidArgument, near
from rasteret_sql.storage.retry import UnsentError
from rasteret_sql.storage.sigv4 import Keys

_TRUE = frozenset({"1", "true", "yes", "on"})
_FRESH_S = 60.0
"""How long the chain's keys are used before it is asked again. It renews them at least ten minutes before they expire."""
_CHAINED = ("sso_session", "sso_start_url", "role_arn", "credential_process", "web_identity_token_file", "login_session")
"""Entries of a profile that only the whole chain understands."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What environment and profile say about S3."""

    keys: Keys | None
    region: str
    endpoint: str
    unsigned: bool
    """AWS_NO_SIGN_REQUEST, the name that GDAL gave it."""
    requester_pays: bool
    """AWS_REQUEST_PAYER=requester, GDAL's too."""
    hint: str
    """What stands in the way of keys that are configured, for messages."""


def read_environment(environ: Mapping[str, str] | None = None) -> Environment:
    """Keys and settings in force; files are read again only when they changed. An unknown profile or an unreadable file is an InvalidArgument."""
    env = os.environ if environ is None else environ
    profile = _profile(env)
    endpoint = ""
    if env.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() not in _TRUE:
        endpoint = env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or profile.get("endpoint_url", "")
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise InvalidArgument("the endpoint that AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_S3 or the profile names is no http(s) URL")
    return Environment(
        keys=_keys(env, profile),
        region=env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or profile.get("region", ""),
        endpoint=endpoint.rstrip("/"),
        unsigned=env.get("AWS_NO_SIGN_REQUEST", "").lower() in _TRUE,
        requester_pays=env.get("AWS_REQUEST_PAYER", "").lower() == "requester",
        hint=_hint(profile),
    )


def _keys(env: Mapping[str, str], profile: Mapping[str, str]) -> Keys | None:
    key_id, secret = env.get("AWS_ACCESS_KEY_ID"), env.get("AWS_SECRET_ACCESS_KEY")
    if bool(key_id) != bool(secret):
        there, missing = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if key_id else ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")
        raise InvalidArgument(f"{there} is set, {missing} is not: set both, or neither")
    if key_id and secret:
        return Keys(key_id.strip(), secret.strip(), env.get("AWS_SESSION_TOKEN") or None, "AWS_ACCESS_KEY_ID")
    key_id, secret = profile.get("aws_access_key_id"), profile.get("aws_secret_access_key")
    if not key_id or not secret:
        return None
    return Keys(key_id, secret, profile.get("aws_session_token") or None, f"the AWS profile {profile['name']}")


def _hint(profile: Mapping[str, str]) -> str:
    if any(name in profile for name in _CHAINED) and not has_botocore():
        return f"the AWS profile {profile['name']} needs the whole credential chain: pip install 'rasteret-sql[aws]'"
    return ""


def _profile(env: Mapping[str, str]) -> Mapping[str, str]:
    """The entries of the profile in force, and its ``name``; those of the credentials file go before those of the config file."""
    name = env.get("AWS_PROFILE") or env.get("AWS_DEFAULT_PROFILE") or ""
    folder = Path(env.get("HOME") or env.get("USERPROFILE") or "~").expanduser() / ".aws"
    shared = _sections(Path(env.get("AWS_SHARED_CREDENTIALS_FILE") or folder / "credentials").expanduser())
    config = _sections(Path(env.get("AWS_CONFIG_FILE") or folder / "config").expanduser())
    profiles = {section.removeprefix("profile ").strip().strip("\"'"): entries for section, entries in config.items()}
    wanted = name or "default"
    if name and name not in shared and name not in profiles:
        known = sorted({*shared, *profiles})
        raise InvalidArgument(f"AWS_PROFILE = {name!r}: there is no such profile{near(name, known)}; profiles: {', '.join(known) or 'none'}")
    return {**profiles.get(wanted, {}), **shared.get(wanted, {}), "name": wanted}


def _sections(path: Path) -> Mapping[str, Mapping[str, str]]:
    try:
        status = path.stat()
    except OSError:
        return {}
    return _parsed(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=16)
def _parsed(path: Path, _mtime_ns: int, _size: int) -> Mapping[str, Mapping[str, str]]:
    """The sections of an AWS file. What is wrong with one is not quoted: the line may hold a secret."""
    parser = RawConfigParser(default_section="", strict=False, delimiters=("=",))
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (Error, UnicodeDecodeError):
        raise InvalidArgument(f"{path} is not a file of AWS profiles: it has lines that are neither [section] nor name = value") from None
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be read: {error.strerror}") from None
    return {section: {name: value.strip() for name, value in parser.items(section)} for section in parser.sections()}


def has_botocore() -> bool:
    return importlib.util.find_spec("botocore") is not None


class Chain:
    """botocore's credential chain (SSO, assumed roles, web identity, containers, instances): one per event loop, asked in a thread."""

    def __init__(self) -> None:
        self._asked = asyncio.Lock()
        self._keys: Keys | None = None
        self._expires = 0.0
        self._session: object | None = None
        self._profile: str | None = None

    async def close(self) -> None:
        self._keys = None

    async def keys(self) -> Keys | None:
        """Keys that are good for a while; None where the chain knows none or botocore is not installed; UnsentError where it fails."""
        profile = os.environ.get("AWS_PROFILE")
        async with self._asked:
            if profile != self._profile:
                self._profile, self._session, self._expires = profile, None, 0.0
            if time.monotonic() >= self._expires:
                self._keys = await asyncio.to_thread(self._load)
                self._expires = time.monotonic() + _FRESH_S
        return self._keys

    def forget(self, keys: Keys) -> None:
        """Ask again: these were refused."""
        if self._keys == keys:
            self._expires = 0.0

    def _load(self) -> Keys | None:
        if not has_botocore():
            return None
        exceptions = importlib.import_module("botocore.exceptions")
        try:
            if self._session is None:
                self._session = importlib.import_module("botocore.session").Session().get_credentials()
            found = getattr(self._session, "get_frozen_credentials", lambda: None)()
        except (exceptions.BotoCoreError, exceptions.ClientError) as error:
            raise UnsentError(f"the AWS credential chain failed: {error}") from None
        if found is None:
            return None
        return Keys(found.access_key, found.secret_key, found.token, "the AWS credential chain")
