"""Texts that break what is put together carelessly: a fixed list, and as many more as asked for, the same in every run."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

INJECTIONS = (
    "'; DROP TABLE canary; --",
    '"; DROP TABLE canary; --',
    "x') ; DROP TABLE canary; --",
    "x'))); INSERT INTO canary VALUES (99); --",
    "*/ DROP TABLE canary /*",
    "/* ' */ ; DELETE FROM canary; -- \"",
    "$$; DROP TABLE canary; $$",
    "$a$; UPDATE canary SET alive = 0; $a$",
    "\\'; DROP TABLE canary; --",
    "' || (SELECT content FROM read_text('{secret}')) || '",
    "(SELECT content FROM read_text('{secret}'))",
    "'; COPY canary TO '{outside}'; --",
    "COPY (SELECT 1) TO '{outside}'",
    "'); ATTACH '{outside}' AS stolen; --",
    "'; SET memory_limit = '1MB'; --",
    "'; SET VARIABLE rasteret_max_bytes = 0; --",
    "'; CREATE MACRO evil() AS 1; --",
    "'; INSTALL httpfs; LOAD httpfs; --",
    "'; PRAGMA enable_profiling; --",
    "' UNION ALL SELECT content FROM read_text('{secret}') --",
    "query('DROP TABLE canary')",
    "query_table('canary')",
    "getvariable('rasteret_workspace')",
    "getenv('HOME')",
    "read_text('{secret}')",
    "error('x')",
    "{url}/fetched",
    "') FROM query('DROP TABLE canary",
    '") FROM query("DROP TABLE canary',
    "]}; DROP TABLE canary; --",
    "'}); DROP TABLE canary; --",
    "\"}'); DROP TABLE canary; --",
)
"""What would do harm where a text becomes SQL; ``{secret}``, ``{outside}``, ``{url}`` are filled in by the world."""
ODD = (
    "", " ", "\t", "\n", "  \n ", "'", '"', "''", '""', '"a"', "'a'", "`a`", ".", "..", "a.b", '"a"."b"', "a..b", ".a", "a.",
    "a\nb", "a\rb", "a\r\nb\tc", "a -- b", "--", "/*", "*/", "a/*b*/", "#", ";", ";;", "\\", "a\\b", "\\n", "\\'", "\\x00", "$", "$$", "$1", "$a$b$a$",
    "?", ":x", "@x", "%s", "%(x)s", "{0}", "{x}", "{}", "{'a': 1}", "[1]", "[]", "(1)", "()", "NULL", "null", "true", "select", "SELECT", "from table",
    "group", "order by", "lambda x: x", "COLUMNS(*)", "*", "1", "-1", "1e9", "0x1F", "inf", "nan", "DEFAULT", "ß", "İ", "ı", "ſ", "ﬀ", "＂", "＇", "‘’",
    "e\u0301", "\u0301", "a\u0300\u0301\u0302\u0303", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L͠G̨O", "\u202eevil", "\u200f", "\u2066x\u2069", "\u200b", "\ufeff", "\u00a0",
    "\u2028", "\u2029", "\x85", "\x01", "\x08", "\x1b[31mred\x1b[0m", "\x7f", "💥", "👩‍👩‍👧", "𝒜𝓁𝑔", "\U0010ffff", "\ufffd", "\uffff", "漢字", "عربى", "हिन्दी",
    "a=b", "year=x", "id=1/x", "a&b", "a|b", "a,b", "a:b", "C:\\x", "\\\\host\\share", "~", "~nobody-at-all/x", "-", "--help", "con", "nul",
    "__g", "__r", "__rel", "__e", "__pairs", "src", "geometry ", "ROWID", "rowid", "excluded", "x" * 5000, "'" * 300, '"' * 300, "é" * 1000,
    "(" * 300, "a" * 256, "💥" * 64,
)  # fmt: skip
_PIECES = (
    "'", '"', "''", '""', ";", "--", "/*", "*/", "\\", "$", "$$", "`", ".", ",", ":", "(", ")", "[", "]", "{", "}", " ", "\n", "\t", "\r", "|", "=", "<",
    "&", "#", "@", "!", "?", "*", "%", "a", "B", "é", "漢", "💥", "\u202e", "\u0301", "\u200b", "\x01", "0", "9", "_", "-", "+", "SELECT", "DROP TABLE canary",
    "NULL", "FROM", "AS", "null", "id", "E'", "U&'", "x'", "\ufeff", "\u2028", "ſ", "İ",
)  # fmt: skip


def texts(count: int, seed: object, fill: Callable[[str], str] = str) -> Iterator[str]:
    """``count`` different texts. The fixed ones come in another order for every seed; most are not needed for every argument."""
    chance = random.Random(str(seed))
    fixed = [*map(fill, INJECTIONS), *ODD]
    chance.shuffle(fixed)
    seen: set[str] = set()
    while len(seen) < count:
        made = fixed[len(seen)] if len(seen) < min(len(fixed), count * 2 // 3) else _made(chance, fixed)
        if made not in seen:
            seen.add(made)
            yield made


def _made(chance: random.Random, fixed: Sequence[str]) -> str:
    """One of many pieces, of any characters, or a fixed one within others."""
    kind = chance.randrange(4)
    if kind == 0:
        return "".join(chance.choice(_PIECES) for _ in range(chance.randint(1, 14)))
    if kind == 1:
        return "".join(_character(chance) for _ in range(chance.randint(1, 10)))
    if kind == 2:
        return f"{chance.choice(_PIECES)}{chance.choice(fixed)[:200]}{chance.choice(_PIECES)}"
    return f"{chance.choice(fixed)[:60]}{chance.choice(fixed)[:60]}"


def _character(chance: random.Random) -> str:
    """Any character but NUL and halves of surrogate pairs."""
    while True:
        code = chance.choice((chance.randint(1, 0x7F), chance.randint(1, 0x2FFF), chance.randint(1, 0x10FFFF)))
        if not 0xD800 <= code <= 0xDFFF:
            return chr(code)


# -- ways of a value into a statement ------------------------------------------------------------------------------------------


def doubled(value: str) -> str:
    """A literal by the one rule of SQL: a quote within is written twice. Not by the package's own function."""
    return "'" + "".join("''" if character == "'" else character for character in value) + "'"


def dollars(value: str) -> str:
    """A literal in dollars, with a tag that the value does not hold."""
    tag = "t"
    while f"${tag}" in value or value.endswith(f"${tag}"[:-1]):
        tag += "t"
    return f"${tag}${value}${tag}$"


def escaped(value: str) -> str:
    """``E'…'``, where backslashes escape (a quote is doubled: after ``\\'`` DuckDB itself takes some Unicode spaces for plain ones)."""
    return "E'" + "".join({"'": "''", "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character, character) for character in value) + "'"


def named(value: str) -> str:
    """An identifier by the same rule."""
    return '"' + "".join('""' if character == '"' else character for character in value) + '"'
