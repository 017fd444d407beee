"""Tokens, errors, boxes and contexts, without a terminal."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rasteret_sql.shell.boxes import Column, box, cut_list, wide
from rasteret_sql.shell.context import context_at
from rasteret_sql.shell.history import history_file, holds_secret
from rasteret_sql.shell.prompt import is_complete
from rasteret_sql.shell.texts import Cell
from rasteret_sql.shell.tokens import cut, is_blank, tokens
from rasteret_sql.shell.wording import plain


@pytest.mark.parametrize(
    ("text", "statements", "rest"),
    [
        ("SELECT 1; SELECT 2", ["SELECT 1"], " SELECT 2"),
        ("SELECT ';' AS a; ", ["SELECT ';' AS a"], " "),
        ("SELECT 'it''s;' ; x", ["SELECT 'it''s;'"], " x"),
        ("SELECT 'open; ", [], "SELECT 'open; "),
        ("SELECT 'a'';", [], "SELECT 'a'';"),
        (r"SELECT e'a\'; b';", [r"SELECT e'a\'; b'"], ""),
        ('SELECT 1 AS "a;""b";', ['SELECT 1 AS "a;""b"'], ""),
        ("SELECT $$a;b$$; SELECT $t$ ; $$ ; $t$;", ["SELECT $$a;b$$", "SELECT $t$ ; $$ ; $t$"], ""),
        ("-- a; b\nSELECT 1; -- c;", ["-- a; b\nSELECT 1"], " -- c;"),
        ("/* a; /* b; */ c; */ SELECT 1;", ["/* a; /* b; */ c; */ SELECT 1"], ""),
        ("/* open ; ", [], "/* open ; "),
        (";;  ; SELECT 1;", ["SELECT 1"], ""),
        ("-- only a comment\n;", [], ""),
        ("SELECT $1, $name;", ["SELECT $1, $name"], ""),
    ],
)
def test_statements_end_where_they_end(text, statements, rest):
    assert cut(text) == (statements, rest)


@settings(deadline=None)
@given(st.text(alphabet="ab1;'\"$-/*\n e:=([{", max_size=40))
def test_no_character_is_lost(text):
    found = list(tokens(text))
    assert "".join(text[token.start : token.end] for token in found) == "".join(token.text for token in found)
    position = 0
    for token in found:
        assert not text[position : token.start].strip()
        position = token.end
    assert not text[position:].strip()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(["SELECT 1", "SELECT ';'", 'SELECT 1 AS "a;"', "SELECT $$;$$", "/* ; */ SELECT 2", "SELECT 3 -- ;\n"]), max_size=5))
def test_as_duckdb_cuts(parts):
    text = ";".join(parts)
    complete, rest = cut(text)
    with duckdb.connect() as con:
        assert len(con.extract_statements(text)) == len(complete) + (not is_blank(rest))


@pytest.mark.parametrize(
    ("text", "done"),
    [
        ("", True),
        (".help", True),
        ("SELECT 1", False),
        ("SELECT 1;", True),
        ("SELECT 1; -- x", True),
        ("SELECT ';", False),
        ("SELECT 1; SELECT 2", False),
        ("/* x", False),
    ],
)
def test_when_enter_runs(text, done):
    assert is_complete(text) is done


WRAPPED = "Invalid Input Error: Python exception occurred while executing the UDF: "


@pytest.mark.parametrize(
    ("error", "statement", "said"),
    [
        (f"{WRAPPED}BudgetExceeded: rasteret_read would fetch 9 bytes\n\nAt:\n  /a/b.py(68): f\n", "", "rasteret_read would fetch 9 bytes"),
        (f"{WRAPPED}ZeroDivisionError: division by zero", "", "ZeroDivisionError: division by zero"),
        ("Invalid Input Error: rasteret_zonal: no\n\nLINE 1: FROM rasteret_zonal()\n             ^", "FROM rasteret_zonal()", "rasteret_zonal: no"),
        ('Parser Error: at "x"\n\nLINE 1: FORM x\n             ^', "FORM x", 'Parser Error: at "x"\n\nLINE 1: FORM x\n             ^'),
        (
            'Catalog Error: no\nDid you mean "y"?\n\nLINE 1: SELECT * FROM __hidden\n  ^',
            "FROM rasteret_read()",
            'Catalog Error: no Did you mean "y"?',
        ),
        ("Invalid Input Error: a\nb", "", "Invalid Input Error: a b"),
    ],
)
def test_errors_in_plain_words(error, statement, said):
    assert str(plain(error, statement)) == said


def test_the_place_of_an_error_shows_no_secret():
    url = "https://host/a.tif?sig=secret"
    found = str(plain(f"Binder Error: no {url}\n\nLINE 1: SELECT x('{url}')\n   ^", f"SELECT x('{url}')"))
    assert "secret" not in found


def columns(*described):
    return [Column(name, kind, [None if value is None else Cell(str(value), items) for value, items in cells]) for name, kind, cells in described]


def test_a_box():
    said = box(columns(("id", "BIGINT", [(1, None), (20, None)]), ("label", "VARCHAR", [("a", None), (None, None)])), 2, 80)
    assert said.splitlines() == [
        "┌───────┬─────────┐",
        "│  id   │  label  │",
        "│ int64 │ varchar │",
        "├───────┼─────────┤",
        "│     1 │ a       │",
        "│    20 │ NULL    │",
        "├───────┴─────────┤",
        "│ 2 rows          │",
        "│ 2 columns       │",
        "└─────────────────┘",
    ]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(min_size=1, max_size=30), st.sampled_from(["BIGINT", "VARCHAR", "USMALLINT[]", "GEOMETRY"]), st.text(max_size=60) | st.none()
        ),
        min_size=1,
        max_size=12,
    ),
    st.integers(20, 150),
)
def test_boxes_fit(described, width):
    made = columns(
        *((name, kind, [(value, 500 if kind.endswith("]") else None) if value is not None else (None, None)]) for name, kind, value in described)
    )
    lines = box(made, 1, width).splitlines()
    assert len({wide(line) for line in lines}) == 1
    assert wide(lines[0]) <= max(width, 30)


def test_wide_characters_and_lists():
    assert wide("日本") == 4
    assert wide("e\u0301") == 1
    assert cut_list("[7966, 7326, 8080]", 21, 212) == "[7966, 7326, … (212)]"
    assert cut_list("[7966, 7326, 8080]", 20, 212) == "[7966, … (212)]"
    assert cut_list("[7966, 7326, 8080]", 6, 212) == "[… (2…"


@pytest.mark.parametrize(
    ("text", "call", "position", "argument", "first", "prefix", "quote"),
    [
        ("FROM rasteret_read(lan", "rasteret_read", 0, None, "", "lan", ""),
        ("FROM rasteret_read('lan", "rasteret_read", 0, None, "", "lan", "'"),
        ("FROM rasteret_read(s2, plots, bands := ['B0", "rasteret_read", 2, "bands", "s2", "B0", "'"),
        ("FROM rasteret_read('s2', (SELECT a, b FROM f(1, 2)), ", "rasteret_read", 2, None, "s2", "", ""),
        ("FROM rasteret_zonal(a.s2, p, expressions := {'x': 'B", "rasteret_zonal", 2, "expressions", "a.s2", "B", "'"),
        ("SELECT 1; FROM rasteret_bands(", "rasteret_bands", 0, None, "", "", ""),
    ],
)
def test_contexts(text, call, position, argument, first, prefix, quote):
    found = context_at(text)
    assert (found.call.name, found.call.position, found.call.argument, found.call.first) == (call, position, argument, first)
    assert (found.prefix, found.quote) == (prefix, quote)


def test_relations_of_a_statement():
    found = context_at("SELECT p.", " FROM points AS p JOIN rasteret_collection(landsat) s ON true WHERE 1; FROM other")
    assert found.qualifier == "p"
    assert found.relations == ("points", "landsat")
    assert dict(found.aliases) == {"p": "points", "s": "landsat"}
    assert context_at("SELECT a FROM x, ").wants_relation
    assert not context_at("SELECT a FROM x WHERE ").wants_relation
    assert context_at("SELECT 1 -- FROM ").in_comment


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("CREATE SECRET a (TYPE s3)", True),
        ("create or replace persistent secret x ()", True),
        ("ATTACH 'postgres://u:pw@host/db'", True),
        ("SET s3_secret_access_key = 'x'", True),
        ("FROM 'https://h/a.tif?X-Amz-Signature=1'", True),
        ("SELECT 'Bearer abc'", True),
        ("ATTACH 'md:?motherduck_token=abc'", True),
        ("SELECT id, B4 FROM rasteret_sample(landsat, points, bands := ['B4'])", False),
        ("SELECT sum(b) FROM t WHERE name = 'second'", False),
    ],
)
def test_what_the_history_does_not_keep(text, secret):
    assert holds_secret(text) is secret


def test_where_the_history_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert history_file() == tmp_path / "rasteret-sql" / "history"
