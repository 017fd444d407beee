"""Limits and options: their names, defaults and meaning in one place.

A setting ``x`` comes from ``SET VARIABLE rasteret_x = …`` in SQL, else from the environment variable ``RASTERET_X``, else from its default.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from rasteret_sql.errors import InvalidArgument, listing, near, presentable, redact

MIB = 1 << 20
GIB = 1 << 30


def _setting(default: Any, help_text: str, *, minimum: float = 0, kind: str = "") -> Any:
    """``kind`` of a text: by default it must not be empty; ``url`` and ``word`` may be; ``buckets`` is true, false or names."""
    return field(default=default, metadata={"help": help_text, "minimum": minimum, "kind": kind})


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings with their defaults. Frozen and hashable: a plan carries the settings it was made with."""

    workspace: str = _setting("~/rasteret_workspace", "folder of the built collections")
    max_bytes: int = _setting(100 * GIB, "a query that would fetch more bytes is refused before reading")
    max_concurrency: int = _setting(32, "byte-range requests in flight at once", minimum=1)
    cache_bytes: int = _setting(64 * MIB, "decoded tiles kept in memory between queries")
    memory_bytes: int = _setting(
        48 * MIB, "bytes that one query holds in flight: fetched, not yet decoded; and pixels of one batch of results", minimum=MIB
    )
    timeout_s: float = _setting(600.0, "deadline of one query's reading in seconds", minimum=0.001)
    progress: bool = _setting(True, "progress bars on long work (stderr, terminals only)")
    s3_endpoint: str = _setting("", "URL of an S3-compatible store that s3:// hrefs are read from, with buckets in the path", kind="url")
    s3_region: str = _setting("", "region that requests for s3:// are signed for, until a bucket names its own", kind="word")
    s3_unsigned: str = _setting("false", "read s3:// without signing although keys are known: true, or buckets", kind="buckets")
    s3_requester_pays: str = _setting("false", "agree to pay for reads of requester-pays buckets: true, or buckets", kind="buckets")
    sas_api: str = _setting(
        "https://planetarycomputer.microsoft.com/api/sas/v1", "service that gives read tokens for Azure containers; empty for none", kind="url"
    )
    azure_endpoint: str = _setting("", "URL that Azure blobs are read from, as endpoint/account/container/blob", kind="url")
    origin: str = field(default="", compare=False, repr=False)
    """No setting: the connection whose statement this is (:mod:`rasteret_sql.reader.interrupts`), which travels with them."""
    stac_endpoints: str = _setting("", "mirrors of the datasets' STAC APIs, such as earthsearch=https://mirror/v1,pc=https://…", kind="endpoints")


FIELDS: Mapping[str, dataclasses.Field[Any]] = {f.name: f for f in dataclasses.fields(Settings) if f.metadata}


def resolve_settings(variables: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """SQL variable, else environment, else default; one bad value is an :class:`InvalidArgument` naming it."""
    env = os.environ if environ is None else environ
    chosen: dict[str, Any] = {"origin": (variables or {}).get("origin") or ""}
    for name, spec in FIELDS.items():
        if (value := (variables or {}).get(name)) is not None:
            chosen[name] = _checked(f"rasteret_{name}", value, spec)
        elif (text := env.get(f"RASTERET_{name.upper()}")) is not None:
            chosen[name] = _checked(f"RASTERET_{name.upper()}", text, spec)
    if unknown := sorted(set(variables or {}) - set(FIELDS) - {"origin"}):
        raise InvalidArgument(f"unknown setting {unknown[0]!r}{near(unknown[0], FIELDS)}; settings: {listing(FIELDS)}")
    return Settings(**chosen)


_TRUTH = {"true": True, "1": True, "on": True, "yes": True, "false": False, "0": False, "off": False, "no": False}
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def _whole(value: Any) -> int:
    number = int(value)
    if isinstance(value, bool) or (not isinstance(value, str) and number != value):
        raise ValueError
    return number


def _nonempty(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def _url(value: Any) -> str:
    """An http(s) URL without a slash at its end, or empty. Credentials in it are refused unseen: settings are shown."""
    if not isinstance(value, str):
        raise TypeError
    parts = urlsplit(value.strip())
    if value.strip() and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query or parts.fragment):
        raise ValueError
    return value.strip().rstrip("/")


def _word(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9-]*", value.strip()):
        raise ValueError
    return value.strip()


def _buckets(value: Any) -> str:
    """``true``, ``false``, or the names joined by commas."""
    if isinstance(value, bool):
        return str(value).lower()
    names = value.split(",") if isinstance(value, str) else list(value)
    if len(names) == 1 and (word := names[0].strip().lower()) in {"true", "false", "1", "0", ""}:
        return "true" if word in {"true", "1"} else "false"
    names = [name.strip().removeprefix("s3://").rstrip("/") for name in names]
    if not all(_BUCKET.fullmatch(name) for name in names):
        raise ValueError
    return ",".join(sorted(set(names)))


def _endpoints(value: Any) -> str:
    """``name=url`` pairs joined by commas, from such a text, a STRUCT or a MAP; empty for none."""
    if isinstance(value, str):
        value = [tuple(pair.split("=", 1)) for pair in value.split(",") if pair.strip()]
    pairs = {name.strip(): _url(url) for name, url in (value.items() if isinstance(value, dict) else value)}
    if not all(pairs) or not all(pairs.values()) or any("," in url for url in pairs.values()):
        raise ValueError
    return ",".join(f"{name}={url}" for name, url in pairs.items())


_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_TEXTS: Mapping[str, tuple[Callable[[Any], str], str]] = {
    "": (_nonempty, _KINDS[str]),
    "url": (_url, "an http(s) URL without credentials"),
    "word": (_word, "one word"),
    "buckets": (_buckets, "true, false or names of buckets"),
    "endpoints": (_endpoints, "pairs of a name and an http(s) URL"),
}


def _checked(label: str, value: Any, spec: dataclasses.Field[Any]) -> Any:
    kind: type = type(spec.default)
    shown = presentable(str(value) if isinstance(value, Decimal) else repr(redact(value) if isinstance(value, str) else value))
    try:
        if kind is bool:
            parsed: Any = value if isinstance(value, bool) else _TRUTH[str(value).lower()]
        elif kind is int:
            parsed = _whole(value)
        elif kind is str:
            parsed = _TEXTS[spec.metadata["kind"]][0](value)
        else:
            parsed = kind(value)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        valid = _TEXTS[spec.metadata["kind"]][1] if kind is str else _KINDS[kind]
        raise InvalidArgument(f"{label} = {shown} is not {valid}: {spec.metadata['help']}") from None
    if kind in (int, float) and not parsed >= spec.metadata["minimum"]:
        raise InvalidArgument(f"{label} = {shown} is too small; the least is {spec.metadata['minimum']}: {spec.metadata['help']}")
    return parsed
