"""The line as it is seen on a terminal: what it says, when it comes, that it goes; and that nobody else gets it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.progress.conftest import CRS
from tests.progress.terminal import Terminal

READ = f"FROM rasteret_read(c, zones, {CRS}, pixels := 'window')"
STATEMENTS = {
    "sample": f"FROM rasteret_sample(c, places, {CRS})",
    "latest": f"FROM rasteret_sample(c, places, {CRS}, match := 'latest')",
    "read": READ,
    "zonal": f"FROM rasteret_zonal(c, zones, {CRS}, pixels := 'window')",
    "merged": f"FROM rasteret_zonal(c, zones, {CRS}, pixels := 'window', per := 'all')",
    "pixels": f"SELECT count(*) FROM rasteret_pixels(c, zones, {CRS}, pixels := 'window')",
}
FEW = {"RASTERET_MAX_CONCURRENCY": 2}
COUNT = re.compile(r"(rasteret_\w+)?\s*([\d,]+) of ([\d,]+)(\+?) (tiles|pairs|files)")


def counts(seen):
    """(done, known) of every state of the line that was seen."""
    return [(int(m[2].replace(",", "")), int(m[3].replace(",", ""))) for line in seen.lines if (m := COUNT.search(line))]


@pytest.mark.parametrize("name", STATEMENTS)
def test_reads_show_what_is_done_and_leave_nothing(slow, name):
    """Tiles that the statement needs (32 a file) of those known; requests, bytes, rate and time left; a clean screen at the end."""
    slow.server.reset()
    seen = Terminal(slow.script(STATEMENTS[name]), RASTERET_WORKSPACE=slow.workspace, RASTERET_MAX_CONCURRENCY=1 if name == "latest" else 2).finish()
    assert seen.status == 0
    assert seen.out.startswith("rows ")
    assert seen.last == [""] * 24, "something is left on the screen"
    found = counts(seen)
    assert len(found) >= 3, seen.lines
    assert found == sorted(found), "what is done grows"
    known = {"latest": 32}.get(name, 96)
    assert {total for _, total in found} == {known}
    assert 0 < found[0][0] < found[-1][0] <= known
    full = max(seen.lines, key=len)
    assert full.startswith(f"rasteret_{'zonal' if name == 'merged' else 'sample' if name == 'latest' else name}  ")
    open_ended = name in {"sample", "latest", "zonal"}
    assert re.search(r"━.* \d+ %  \d+ requests  [\d.]+ [kM]B  \d+\.\d MB/s  " + ("≥ " if open_ended else "") + r"\d+ s left$", full), full
    requests = [int(m[1]) for line in seen.lines if (m := re.search(r"(\d+) requests", line))]
    assert requests[-1] <= slow.server.stats().requests


def test_it_comes_after_a_second_and_at_most_five_times_a_second(slow):
    """Counted from the first read on: what came before (the imports) is not part of it."""
    script = "import sys, time\n" + slow.script(READ).replace('print("rows"', 'sys.stderr.write("begin\\n")\nprint("rows"')
    seen = Terminal(script, RASTERET_WORKSPACE=slow.workspace, **FEW).finish()
    begin = next(moment for moment, part in seen.writes if b"begin" in part)
    drawn = [moment - begin for moment, part in seen.writes if b"requests" in part]
    assert drawn[0] >= 1.0
    assert drawn[0] < 2.5
    for first, sixth in zip(drawn, drawn[5:], strict=False):
        assert sixth - first > 0.9


def test_a_fast_statement_shows_nothing(slow):
    seen = Terminal(slow.script("FROM rasteret_collections()"), RASTERET_WORKSPACE=slow.workspace).finish()
    assert (seen.status, seen.raw) == (0, b"")


def test_time_left_is_about_right(slow):
    """Half-way through, what it says is what it takes, within a factor of two."""
    seen = Terminal(slow.script(STATEMENTS["merged"]), RASTERET_WORKSPACE=slow.workspace, RASTERET_MAX_CONCURRENCY=1).finish()
    end = seen.writes[-1][0]
    told = [
        (moment, int(m[1]), int(m[2]))
        for moment, part in seen.writes
        if (m := re.search(r"(\d+) %.*?(?:(\d+) s left)", part.decode())) and 30 <= int(m[1]) <= 70
    ]
    assert told
    for moment, _, left in told:
        assert (end - moment) / 2 - 1 <= left <= (end - moment) * 2 + 1


def test_reads_in_parts_count_pairs(slow):
    """With little memory a statement reads batch after batch: pairs are what is known of all of them."""
    script = slow.script(READ, memory_bytes=1 << 20)
    seen = Terminal(script, RASTERET_WORKSPACE=slow.workspace, **FEW).finish()
    assert (seen.status, seen.last) == (0, [""] * 24)
    pairs = [line for line in seen.lines if " of 96 pairs" in line]
    assert len(pairs) >= 2, seen.lines
    assert any(re.search(r"  \d+ s left$", line) for line in pairs)


def test_builds_count_files(slow, tmp_path):
    rows = [f"{n},{slow.server.url('0.tif')}?n={n}" for n in range(120)]
    (tmp_path / "files.csv").write_text("\n".join(["id,href", *rows]))
    statement = f"FROM rasteret_build_from_table('{tmp_path}/files.csv', name := 'b', href_column := 'href')"
    seen = Terminal(slow.script(statement), RASTERET_WORKSPACE=tmp_path, **FEW).finish()
    assert (seen.status, seen.out, seen.last) == (0, "rows 1\n", [""] * 24)
    files = [line for line in seen.lines if re.match(r"rasteret_build_from_table  \d+ of 120 files  ━", line)]
    assert files, seen.lines
    assert files[-1].endswith(" s left")


def test_two_statements_share_the_line(slow):
    script = (
        slow.script(READ).partition("print(")[0]
        + f"""
import threading
def other():
    con.cursor().execute({STATEMENTS["zonal"].replace("rasteret_zonal", "rasteret.zonal").replace("zones", "zones")!r}).fetchall()
thread = threading.Thread(target=other)
thread.start()
con.execute({READ.replace("(c,", "('c',")!r}).fetchall()
thread.join()
"""
    )
    seen = Terminal(script, RASTERET_WORKSPACE=slow.workspace, **FEW).finish()
    assert (seen.status, seen.last) == (0, [""] * 24), seen.last
    both = [line for line in seen.lines if re.match(r"rasteret_\w+ \+ rasteret_\w+  ", line)]
    assert both, seen.lines
    assert all(sum(1 for line in screen if line) <= 1 for screen in seen.screens), "the line takes one line"


def test_ctrl_c_leaves_the_terminal_clean(slow):
    """Nothing of the line is left in or under what Python says then."""
    terminal = Terminal(slow.script(READ), rows=48, RASTERET_WORKSPACE=slow.workspace, RASTERET_MAX_CONCURRENCY=1)
    assert terminal.watch(lambda screen: "requests" in screen[0])
    terminal.type(b"\x03")
    seen = terminal.finish()
    assert seen.status != 0
    shown = "\n".join(seen.last)
    assert "Traceback" in seen.last[0]
    assert re.search("KeyboardInterrupt|[Ii]nterrupted", shown), shown  # DuckDB has two wordings of its own
    assert not re.search(r"\d requests| of \d+ tiles", shown), shown


def test_a_narrower_window_is_respected(slow):
    """Each drawing takes the width that the window has then, and never more than one row of it."""
    terminal = Terminal(slow.script(READ), RASTERET_WORKSPACE=slow.workspace, RASTERET_MAX_CONCURRENCY=1)
    assert terminal.watch(lambda screen: len(screen[0]) > 60)
    terminal.resize(50, 24)
    before = len(terminal.seen.writes)
    assert terminal.watch(lambda screen: "of 96" in screen[0] and len(terminal.seen.writes) > before + 3)
    seen = terminal.finish()
    assert seen.last == [""] * 24
    later = [part.decode().strip("\r").removeprefix("\033[J") for _, part in seen.writes[before + 2 :]]
    assert all(len(text) < 50 for text in later if "of 96" in text)
    assert all(sum(1 for line in screen if line) <= 1 for screen in seen.screens)


def test_a_prompt_follows_on_a_clean_line(slow):
    """An interactive Python: the statement's result and the next prompt stand where they would without the line."""
    lines = slow.script(READ).replace('print("rows"', 'found = print("rows"').strip().splitlines()
    body = "import code\nscope = {}\n" + "code.interact(banner='', local=scope, exitmsg='')"
    terminal = Terminal(body, all_of_it=True, RASTERET_WORKSPACE=slow.workspace, **FEW)
    for block in (
        ("\n".join(lines) + "\n")
        .replace("]:\n", "]:\n")
        .replace("    con.execute(line).fetchall()\n", "    con.execute(line).fetchall()\n\n")
        .splitlines()
    ):
        terminal.type(block.encode() + b"\n")
        if block.startswith("    con.execute(f"):
            terminal.type(b"\n")
    assert terminal.watch(lambda screen: any("requests" in line for line in screen))
    assert terminal.watch(lambda screen: any(line == "rows 96" for line in screen))
    terminal.type(b"exit()\n")
    seen = terminal.finish()
    assert "requests" not in "\n".join(seen.last)


@pytest.mark.parametrize("more", [{"RASTERET_PROGRESS": "off"}, {"RASTERET_PROGRESS": "false"}, {"CI": "true"}, {"TERM": "dumb"}], ids=str)
def test_told_not_to_it_writes_nothing(slow, more):
    seen = Terminal(slow.script(READ), RASTERET_WORKSPACE=slow.workspace, **FEW, **more).finish()
    assert (seen.status, seen.raw) == (0, b"")


def test_the_setting_of_a_connection(slow):
    seen = Terminal(slow.script(READ, progress=False), RASTERET_WORKSPACE=slow.workspace, **FEW).finish()
    assert (seen.status, seen.raw) == (0, b"")


def test_without_a_terminal_not_a_byte(slow):
    import os

    environment = os.environ | {"RASTERET_WORKSPACE": str(slow.workspace), "RASTERET_MAX_CONCURRENCY": "2", "TERM": "xterm"}
    environment.pop("CI", None)
    done = subprocess.run([sys.executable, "-c", slow.script(READ)], capture_output=True, text=True, timeout=60, env=environment, check=True)
    assert done.stdout.endswith("rows 96\n")
    assert done.stderr == ""


def test_in_the_background_it_is_silent(slow):
    """`program &`: the terminal belongs to the shell, whose prompt is not written over."""
    script = "import os, sys\nif os.fork():\n    _, status = os.wait()\n    sys.exit(os.waitstatus_to_exitcode(status))\nos.setpgid(0, 0)\n"
    seen = Terminal(script + slow.script(READ), RASTERET_WORKSPACE=slow.workspace, **FEW).finish()
    assert (seen.status, seen.raw) == (0, b"")


def test_a_terminal_that_knows_ascii_alone(slow):
    seen = Terminal(slow.script(READ), RASTERET_WORKSPACE=slow.workspace, PYTHONIOENCODING="ascii", **FEW).finish()
    assert seen.raw.isascii()
    assert any(re.search(r"\[#+-+\] \d+ %", line) for line in seen.lines), seen.lines


def test_threads_end_when_nothing_shows(slow):
    """Where nobody can see a line, there is no thread either."""
    script = slow.script(READ) + "\nimport threading\nprint(sorted(t.name for t in threading.enumerate() if 'progress' in t.name))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={"RASTERET_WORKSPACE": str(slow.workspace), "PATH": ""},
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
