"""The token that lets a client in: given, in a file, in the environment, or made up."""

from __future__ import annotations

import os
import secrets
import stat
import string
from collections.abc import Mapping
from pathlib import Path

from rasteret_sql.errors import InvalidArgument, RasteretError

VARIABLE = "RASTERET_SERVE_TOKEN"
SHORTEST = 16
_ALLOWED = frozenset(string.ascii_letters + string.digits + string.punctuation)


def chosen_token(given: str | None, file: str | None, environ: Mapping[str, str]) -> str:
    """The first of: ``given``, the one line in ``file``, the environment's; else 256 random bits.

    Raises :class:`InvalidArgument` for a token that is guessed too easily or cannot be typed, and :class:`RasteretError` for a file that others
    may read. No message holds a token.
    """
    if given is not None and file is not None:
        raise InvalidArgument("give --token or --token-file, not both")
    if given is not None:
        return _checked(given, "--token")
    if file is not None:
        return _checked(_line_of(Path(file).expanduser()), f"the token in {file}")
    if environ.get(VARIABLE):
        return _checked(environ[VARIABLE], VARIABLE)
    return secrets.token_urlsafe(32)


def _line_of(file: Path) -> str:
    with file.open(encoding="utf-8", errors="replace") as opened:
        if os.name == "posix" and os.fstat(opened.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise RasteretError(f"others may read {file}, which holds the token; type: chmod 600 {file}")
        return opened.read(10_000).strip()


def _checked(token: str, what: str) -> str:
    if len(token) < SHORTEST or not set(token) <= _ALLOWED:
        raise InvalidArgument(
            f"{what} is not valid: {SHORTEST} or more letters, digits and signs without spaces are; whoever guesses it can run any SQL as you"
        )
    return token
