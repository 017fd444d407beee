"""Reading command lines: parsers whose errors are one line with what is valid, and the kinds of values that commands share."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from rasteret_sql.errors import listing, near


class Parser(argparse.ArgumentParser):
    """A command: its help ends with examples, and a misspelt word is answered with the nearest one."""

    def __init__(self, prog: str, description: str, epilog: str, **more: Any) -> None:
        super().__init__(
            prog=prog, description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **more
        )
        self.set_defaults(parser=self, run=None)

    def commands(self) -> Commands[Any]:
        """Room for commands below this one."""
        found: Commands[Any] = self.add_subparsers(metavar="command", parser_class=_Command)
        return found

    def options(self) -> list[str]:
        return sorted(set(re.findall(r"--[a-z-]+", self.format_usage())) | {"--help"})

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"{self.prog}: {message} (see: {self.prog} --help)\n")
        raise SystemExit(2)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(None, f"no command {value!r}{near(str(value), action.choices)}; commands: {listing(action.choices)}")


class _Command(Parser):
    """A parser as argparse makes it for a word of its parent."""

    def __init__(self, prog: str, description: str = "", epilog: str = "", **more: Any) -> None:
        super().__init__(prog, description, epilog, **more)


Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for what add_subparsers returns


def command(commands: Commands[Any], name: str, summary: str, examples: Sequence[str], *, run: Any = None) -> Parser:
    """Add a command with a line of help and examples that can be typed as they are."""
    lines = "\n".join(f"  rasteret-sql {example}" for example in examples)
    parser: Parser = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", epilog=f"examples:\n{lines}\n")
    parser.set_defaults(run=run)
    return parser


def add_common(parser: Parser) -> None:
    """What every command about collections and datasets takes."""
    parser.add_argument("--workspace", metavar="FOLDER", help="folder of the collections (RASTERET_WORKSPACE, else ~/rasteret_workspace)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def joined(argv: Sequence[str]) -> list[str]:
    """``--bbox -93.7,41.9,…`` as ``--bbox=-93.7,41.9,…``: argparse takes a value that begins with a minus for an option."""
    found: list[str] = []
    for word in argv:
        if found and found[-1] == "--bbox" and re.match(r"-[\d.]", word):
            found[-1] = f"--bbox={word}"
        else:
            found.append(word)
    return found


def box(text: str) -> list[float]:
    """``W,S,E,N``."""
    try:
        numbers = [float(part) for part in re.split(r"[,\s]+", text.strip())]
    except ValueError:
        numbers = []
    if len(numbers) != 4:
        raise argparse.ArgumentTypeError(f"{text!r} is no box; W,S,E,N in degrees is, such as 77.5,12.9,77.7,13.1")
    return numbers


def names(text: str) -> list[str]:
    """``B04,B08``."""
    found = [part.strip() for part in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of names; B04,B08 is")
    return found


def pairs(text: str) -> dict[str, str]:
    """``B04=red,B08=nir``."""
    return dict(_pair(part) for part in text.split(","))


def _pair(text: str) -> tuple[str, str]:
    key, _, value = (part.strip() for part in text.partition("="))
    if not key or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is no pair; NAME=VALUE is, such as B04=red")
    return key, value


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of items; a whole number from 1 is")
    return int(text)
