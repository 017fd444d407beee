"""From DuckDB's parse tree to SQL text again, through a list of what is allowed.

DuckDB gives the tree as JSON (``json_serialize_sql``), in a shape of its own per version: 1.5 has ``children`` and typed values, 2.0
``arguments`` and literals as written. Text is written here from the parts that are known; whatever else a node holds must be empty.
DuckDB's own way back (``json_deserialize_sql``) is not used: in 1.5 it writes a DOUBLE 0.0105 as a DECIMAL.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any, NoReturn

import duckdb

from rasteret_sql.errors import BandNotFound, InvalidArgument, listing, near, one_line
from rasteret_sql.sql import quote, sandbox

MOST_DEEP = 200
MOST_TEXT = 100
"""Characters of one constant."""
_NUMBER = re.compile(r"-?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(e[+-]?\d[\d_]*)?", re.IGNORECASE)
_SYMBOL = re.compile(r"[-+*/%&|^~<>@]+")
_COMPARISONS = {
    "COMPARE_EQUAL": "=",
    "COMPARE_NOTEQUAL": "<>",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
    "COMPARE_DISTINCT_FROM": "IS DISTINCT FROM",
    "COMPARE_NOT_DISTINCT_FROM": "IS NOT DISTINCT FROM",
}
_OPERATORS = {
    "OPERATOR_NOT": "(NOT {0})",
    "OPERATOR_IS_NULL": "({0} IS NULL)",
    "OPERATOR_IS_NOT_NULL": "({0} IS NOT NULL)",
    "OPERATOR_COALESCE": "coalesce({all})",
    "OPERATOR_TRY": "try({0})",
    "COMPARE_IN": "({0} IN ({rest}))",
    "COMPARE_NOT_IN": "({0} NOT IN ({rest}))",
}
_REFUSED = {
    "SUBQUERY": "a subquery",
    "WINDOW": "a window function",
    "STAR": "a star",
    "LAMBDA": "a lambda or ->",
    "PARAMETER": "a parameter",
    "POSITIONAL_REFERENCE": "a column by position",
    "COLLATE": "a collation",
    "DEFAULT": "DEFAULT",
}
_VALUES_OF_SQL = frozenset(
    {"current_catalog", "current_date", "current_role", "current_schema", "current_time", "current_timestamp", "current_user"}
    | {"localtime", "localtimestamp", "session_user", "user"},
)
"""Names without parentheses that DuckDB takes for functions where no column has them."""
_LOCATIONS = {"query_location", "query_location_length"}
_NOTHING: tuple[object, ...] = (None, False, "", [], {})


def tree(argument: str, select: str) -> dict[str, Any]:
    """The parse tree of a SELECT of one item and of nothing but this item; parsing runs nothing."""
    if "\0" in select or any("\ud800" <= character <= "\udfff" for character in select):
        raise InvalidArgument(f"{argument}: does not parse: it holds a NUL character or half of one")
    try:
        (found,) = sandbox.connection().execute("SELECT json_serialize_sql(?::VARCHAR)", [select]).fetchall()
        parsed = json.loads(found[0])
    except RecursionError:
        raise InvalidArgument(f"{argument}: nested deeper than {MOST_DEEP}") from None
    except (duckdb.Error, ValueError) as error:
        raise InvalidArgument(f"{argument}: does not parse: {one_line(str(error).partition(chr(10))[0])}") from None
    if parsed["error"]:
        message = one_line(str(parsed.get("error_message", "not a scalar expression")), 200)
        if "depth" in message:
            raise InvalidArgument(f"{argument}: nested deeper than {MOST_DEEP}")
        raise InvalidArgument(f"{argument}: does not parse: {message}")
    statements = parsed["statements"]
    node = dict(statements[0]["node"]) if len(statements) == 1 else {}
    items = node.pop("select_list", [])
    source = node.pop("from_table", {})
    bare = node.pop("type", None) == "SELECT_NODE" and node.pop("cte_map", None) == {"map": []}
    bare = bare and node.pop("aggregate_handling", None) == "STANDARD_HANDLING" and source.get("type") == "EMPTY" and source.get("sample") is None
    if not bare or len(items) != 1 or any(value not in _NOTHING for value in node.values()):
        raise InvalidArgument(f"{argument}: more than one expression; a single scalar expression over bands is valid")
    return dict(items[0])


class Writer:
    """Writes one expression's tree as text, and keeps the bands it names; whatever is not allowed is refused by name."""

    def __init__(self, argument: str, bands: Sequence[str] | None) -> None:
        self.argument = argument
        self.bands = bands
        self.used: dict[str, str] = {}
        """Bands named, by the name in lower case."""
        self._by_class = {
            "CONSTANT": self._constant,
            "COLUMN_REF": self._column,
            "FUNCTION": self._function,
            "OPERATOR": self._operator,
            "COMPARISON": self._comparison,
            "CONJUNCTION": self._conjunction,
            "BETWEEN": self._between,
            "CASE": self._case,
            "CAST": self._cast,
        }

    def refuse(self, what: str) -> NoReturn:
        raise InvalidArgument(f"{self.argument}: {what}")

    def write(self, node: dict[str, Any], depth: int = 0) -> str:
        """The node's text, complete in itself: with parentheses wherever its neighbours could bind tighter."""
        if depth > MOST_DEEP:
            self.refuse(f"nested deeper than {MOST_DEEP}")
        kind = str(node.get("class"))
        if kind not in self._by_class:
            self.refuse(f"{_REFUSED.get(kind, kind)} is not valid here; a scalar expression over bands is")
        rest = {key: value for key, value in node.items() if key not in _LOCATIONS and key != "class"}
        if rest.pop("alias", ""):
            self.refuse("a name for a value or argument is not valid here")
        text = self._by_class[kind](rest, depth + 1)
        if any(value not in _NOTHING for value in rest.values()):
            self.refuse(f"{', '.join(key for key, value in rest.items() if value not in _NOTHING)} is not valid here")
        return text

    def _all(self, nodes: Sequence[dict[str, Any]], depth: int) -> list[str]:
        return [self.write(node, depth) for node in nodes]

    def _column(self, rest: dict[str, Any], _depth: int) -> str:
        path = rest.pop("column_names")
        rest.pop("type")
        if len(path) != 1:
            self.refuse(f"{'.'.join(path)!r} is not valid; a band's name alone is (in double quotes, if there is a dot in it)")
        return quote.ident(self._band(path[0]))

    def _band(self, name: str) -> str:
        folded = name.lower()
        if self.bands is None:
            if folded in _VALUES_OF_SQL:
                self.refuse(f"{name!r} is no band; SQL has a meaning of its own for it")
            return self.used.setdefault(folded, name)
        same = [band for band in self.bands if band.lower() == folded]
        if not same:
            raise BandNotFound(
                f"{self.argument}: no band {name!r}{near(name, self.bands)}{'' if near(name, self.bands) else ';'} bands: {listing(self.bands)}"
            )
        if len(same) > 1:
            self.refuse(f"{name!r} is ambiguous: the bands {listing(same)} differ in case only, and names in SQL do not")
        return self.used.setdefault(folded, same[0])

    def _function(self, rest: dict[str, Any], depth: int) -> str:
        name = str(rest.pop("function_name"))
        for key in ("type", "is_operator"):
            rest.pop(key)
        if rest.pop("order_bys")["orders"] or rest.get("distinct") or rest.get("filter"):
            self.refuse(f"{name}: DISTINCT, ORDER BY and FILTER belong to aggregates; functions of single values are valid")
        qualified = rest.pop("qualified_name", {"path": [name]})["path"] != [name] or rest.get("schema") or rest.get("catalog")
        name = "factorial" if name == "!__postfix" else name
        self._known_function(name)
        if qualified:
            self.refuse(f"{name}: a function's name alone is valid, without a schema")
        arguments = rest.pop("children", None) or rest.pop("arguments", [])
        if any(argument.get("name") for argument in arguments):
            self.refuse(f"{name}: named arguments are not valid")
        texts = self._all([argument.get("expression", argument) for argument in arguments], depth)
        if not _SYMBOL.fullmatch(name):
            return f"{quote.ident(name)}({', '.join(texts)})"
        if len(texts) == 2:
            return f"({texts[0]} {name} {texts[1]})"
        return f"({name} ({texts[0]}))" if len(texts) == 1 else self.refuse(f"{name} takes one or two values")

    def _known_function(self, name: str) -> None:
        kinds = sandbox.functions()
        kind = kinds.get(name)
        if kind == "aggregate":
            self.refuse(f"{name} is an aggregate; functions of single values are valid")
        if kind is None:
            self.refuse(f"no function {name!r}{near(name, [known for known, kind in kinds.items() if kind == 'number'])}")
        if kind != "number":
            self.refuse(f"the function {name} is not valid here; functions of numbers are, such as sqrt, round, greatest")

    def _operator(self, rest: dict[str, Any], depth: int) -> str:
        kind = rest.pop("type")
        if kind not in _OPERATORS:
            self.refuse(f"{kind.lower().replace('_', ' ')} is not valid here; a scalar expression over bands is")
        texts = self._all(rest.pop("children"), depth)
        return _OPERATORS[kind].format(*texts[:1], all=", ".join(texts), rest=", ".join(texts[1:]))

    def _comparison(self, rest: dict[str, Any], depth: int) -> str:
        kind = rest.pop("type")
        if kind not in _COMPARISONS:
            self.refuse(f"{kind} is not valid here")
        return f"({self.write(rest.pop('left'), depth)} {_COMPARISONS[kind]} {self.write(rest.pop('right'), depth)})"

    def _conjunction(self, rest: dict[str, Any], depth: int) -> str:
        word = {"CONJUNCTION_AND": " AND ", "CONJUNCTION_OR": " OR "}[rest.pop("type")]
        return f"({word.join(self._all(rest.pop('children'), depth))})"

    def _between(self, rest: dict[str, Any], depth: int) -> str:
        if rest.pop("type") != "COMPARE_BETWEEN":
            self.refuse("this kind of BETWEEN is not valid here")
        value, lower, upper = self._all([rest.pop(key) for key in ("input", "lower", "upper")], depth)
        return f"({value} BETWEEN {lower} AND {upper})"

    def _case(self, rest: dict[str, Any], depth: int) -> str:
        rest.pop("type")
        checks = [(self.write(check["when_expr"], depth), self.write(check["then_expr"], depth)) for check in rest.pop("case_checks")]
        whens = " ".join(f"WHEN {when} THEN {then}" for when, then in checks)
        return f"(CASE {whens} ELSE {self.write(rest.pop('else_expr'), depth)} END)"

    def _cast(self, rest: dict[str, Any], depth: int) -> str:
        rest.pop("type")
        child = self.write(rest.pop("child"), depth)
        function = "TRY_CAST" if rest.pop("try_cast") else "CAST"
        return f"{function}({child} AS {self._type(rest.pop('cast_type', None) or rest.pop('type_expr'))})"

    def _type(self, node: dict[str, Any]) -> str:
        """1.5: an id, with its details; 2.0: a name as written, with its arguments."""
        details = node.get("type_info") or {}
        name = str(node.get("type_name") or details.get("name") or node.get("id"))
        known = sandbox.type_names().get(name.lower())
        if node.get("class", "TYPE") != "TYPE" or node.get("schema") or node.get("catalog") or node.get("id") == "UNBOUND":
            known = None
        numbers = [str(child.get("literal", {}).get("text")) for child in node.get("children", [])]
        if "width" in details:
            numbers = [str(details["width"]), str(details["scale"])]
        if known is None or (numbers and known != "DECIMAL") or not _fits(numbers):
            self.refuse(f"a cast to {name} is not valid here; casts to numbers and BOOLEAN are")
        return f"{known}({', '.join(numbers)})" if numbers else known

    def _constant(self, rest: dict[str, Any], _depth: int) -> str:
        """2.0: a literal as written; 1.5: a typed value, written so that it parses to this type again."""
        rest.pop("type")
        literal = rest.pop("literal", None)
        if literal is not None:
            return self._literal(str(literal["kind"]), str(literal["text"]))
        value = rest.pop("value")
        kind = value["type"]["id"]
        if value["is_null"]:
            return self._literal("NULL_LITERAL", "")
        content = value["value"]
        if kind in ("HUGEINT", "UHUGEINT"):
            return self._literal("INTEGER", str((int(content["upper"]) << 64) + int(content["lower"])))
        if kind == "DECIMAL":
            info = value["type"]["type_info"]
            digits = str(abs(content)).zfill(info["width"])
            whole = len(digits) - info["scale"]
            return self._literal("NUMERIC", f"{'-' if content < 0 else ''}{digits[:whole]}.{digits[whole:]}")
        if kind == "DOUBLE":
            text = repr(float(content))
            return self._literal("NUMERIC", text if "e" in text or not math.isfinite(content) else f"{text}e0")
        known = {"INTEGER": "INTEGER", "BIGINT": "INTEGER", "VARCHAR": "STRING", "BOOLEAN": "BOOLEAN"}
        return self._literal(known.get(kind, kind), str(content))

    def _literal(self, kind: str, text: str) -> str:
        if len(text) > MOST_TEXT:
            self.refuse(f"a constant of {len(text)} characters; at most {MOST_TEXT} are valid")
        if kind in ("INTEGER", "NUMERIC"):
            if not _NUMBER.fullmatch(text) or not math.isfinite(float(text.replace("_", ""))):
                self.refuse(f"the number {text} is out of range")
            return f"({text})" if text.startswith("-") else text
        if kind == "STRING":
            return quote.text(text)
        if kind == "BOOLEAN":
            return f"CAST('{text[0].lower()}' AS BOOLEAN)"
        return "NULL" if kind == "NULL_LITERAL" else self.refuse(f"a constant of type {kind} is not valid here; numbers, true, false and NULL are")


def _fits(numbers: Sequence[str]) -> bool:
    """Whether these are a DECIMAL's width and scale."""
    if not numbers:
        return True
    if len(numbers) > 2 or not all(re.fullmatch(r"[0-9]{1,2}", number) for number in numbers):
        return False
    width, scale = int(numbers[0]), int(numbers[1]) if len(numbers) == 2 else 0
    return 1 <= width <= 38 and scale <= width
