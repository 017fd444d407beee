"""A kernel that is interrupted: ``python -m tests.notebook.interrupting FOLDER FUNCTION`` tells what came of it, as JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests.collection.tiffs import write
from tests.servers.faulty import OK, FaultyServer
from tests.sql.interrupting import PLACES, STALL


def reply(client: BlockingKernelClient, message: str, timeout: float = 30) -> tuple[dict[str, Any], str]:
    """What the kernel answers, and what the cell wrote and displayed."""
    said = ""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        try:
            heard = client.get_iopub_msg(timeout=1)
        except Empty:
            continue
        if heard["parent_header"].get("msg_id") != message:
            continue
        content = heard["content"]
        said += content.get("text", "") + content.get("data", {}).get("text/plain", "")
        if heard["msg_type"] == "status" and content["execution_state"] == "idle":
            break
    while True:
        answer = client.get_shell_msg(timeout=timeout)
        if answer["parent_header"].get("msg_id") == message:
            return answer["content"], said


def run(client: BlockingKernelClient, code: str) -> str:
    answer, said = reply(client, client.execute(code))
    if answer["status"] != "ok":
        raise SystemExit(f"{code}: {answer}")
    return said


TIMED = """
import time
try:
    get_ipython().run_cell_magic("rasteret", "found", {statement!r})
except KeyboardInterrupt:
    stopped = time.time()
"""
"""Without the time that IPython takes to write a traceback."""


def stopped(kernel: KernelManager, client: BlockingKernelClient, server: FaultyServer, code: str) -> tuple[dict[str, Any], float]:
    """Run a cell whose read stalls, interrupt it; what the kernel answers, and when it was interrupted."""
    server.script("/a.tif", forever=STALL)
    asked = len(server.requests)
    message = client.execute(code)
    end = time.monotonic() + 15
    while len(server.requests) == asked and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.3)
    at = time.time()
    kernel.interrupt_kernel()
    return reply(client, message)[0], at


def interrupted(kernel: KernelManager, client: BlockingKernelClient, folder: Path, function: str) -> dict[str, Any]:
    with FaultyServer(write(folder / "a.tif").read_bytes()) as server:
        scenes = {"id": ["a"], "href": [server.script("/a.tif")]}
        run(client, "%load_ext rasteret_sql")
        run(client, f"import pyarrow as pa\nscenes, places = pa.table({scenes}), pa.table({PLACES.select(['geometry']).to_pydict()})")
        run(client, "%rasteret FROM rasteret_build_from_table(scenes, name := 'c', href_column := 'href', band_index_map := {'b': 0})")
        statement = f"FROM rasteret_{function}(c, places, geometry_crs := 'EPSG:32633', bands := ['b'])"
        answer, _ = stopped(kernel, client, server, f"%%rasteret found\n{statement}")
        following = run(client, "%rasteret SELECT 42")
        _, at = stopped(kernel, client, server, TIMED.format(statement=statement))
        seconds = float(run(client, "stopped")) - at
        server.script("/a.tif", forever=OK)
        again = run(client, f"%rasteret SELECT status FROM ({statement})")
        return {"ended": answer.get("ename"), "seconds": seconds, "next": following, "again": again}


def main() -> None:
    kernel = KernelManager(kernel_name="python3")
    kernel.start_kernel()
    client = kernel.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        print(json.dumps(interrupted(kernel, client, Path(sys.argv[1]), sys.argv[2])))
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)


if __name__ == "__main__":
    main()
