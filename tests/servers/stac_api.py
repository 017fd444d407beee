"""Real STAC APIs on loopback: stac-fastapi-pgstac on a PostgreSQL of its own, and rustac.

Their Python lies in an environment of its own (``pip install -r tests/servers/requirements-stac.txt``): ``RASTERET_TEST_STAC_PYTHON``, else
``.venv-stac/bin/python`` in the repository, else the interpreter that runs the tests. PostgreSQL with PostGIS comes from the system.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
_WAIT_S = 60.0
_USER = "postgres"
"""PostgreSQL does not run as root."""


def server_python() -> str | None:
    """The interpreter that has the servers."""
    own = ROOT / ".venv-stac/bin/python"
    named = os.environ.get("RASTERET_TEST_STAC_PYTHON") or (str(own) if own.exists() else None)
    return named or (sys.executable if importlib.util.find_spec("stac_fastapi") else None)


def postgres_bin() -> Path | None:
    """Folder of PostgreSQL's programs, where PostGIS is beside them."""
    candidates = [*Path("/usr/lib/postgresql").glob("*/bin"), *(Path(found).parent for found in (shutil.which("initdb"),) if found)]
    for folder in sorted(candidates, reverse=True):
        share = Path("/usr/share/postgresql") / folder.parent.name / "extension/postgis.control"
        if (folder / "initdb").is_file() and share.is_file():
            return folder
    return None


def missing() -> str | None:
    """What the servers lack on this machine."""
    if server_python() is None:
        return "no environment with STAC servers (RASTERET_TEST_STAC_PYTHON)"
    return None if postgres_bin() else "no PostgreSQL with PostGIS (postgresql-15, postgresql-15-postgis-3)"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _WAIT_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended: {log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"no answer from {url}: {log.read_text()[-2000:]}")


@contextmanager
def serving(command: Sequence[str], url: str, environ: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a server until the end of the block."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **(environ or {})}) as process:
            try:
                wait_for(url, process, log)
                yield url
            finally:
                process.terminate()
                process.wait(20)


@contextmanager
def postgres() -> Iterator[dict[str, str]]:
    """A cluster with an empty database ``postgis``; yields the environment that its clients want."""
    programs = postgres_bin()
    assert programs is not None
    other = {"user": _USER, "extra_groups": []} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if other:
        account = pwd.getpwnam(_USER)
        os.chown(folder, account.pw_uid, account.pw_gid)
        other["group"] = account.pw_gid
    port, data = free_port(), folder / "data"
    environ = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": _USER, "PGPASSWORD": "none", "PGDATABASE": "postgis"}
    plain = {**os.environ, "HOME": str(folder), **environ}

    def run(name: str, *arguments: str) -> None:
        done = subprocess.run([str(programs / name), *arguments], cwd=folder, env=plain, capture_output=True, timeout=_WAIT_S, check=False, **other)
        assert done.returncode == 0, f"{name}: {done.stdout.decode()} {done.stderr.decode()}"

    try:
        run("initdb", "-D", str(data), "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c full_page_writes=off"
        with (folder / "log").open("wb") as log:  # not a pipe: the server would hold it open
            start = [str(programs / "pg_ctl"), "-D", str(data), "-w", "-o", options, "start"]
            subprocess.run(start, cwd=folder, env=plain, stdout=log, stderr=log, timeout=_WAIT_S, check=True, **other)
        try:
            run("createdb", "-h", "127.0.0.1", "postgis")
            yield environ
        finally:
            run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lines(folder: str, name: str, documents: Sequence[Mapping[str, Any]]) -> str:
    file = Path(folder) / name
    file.write_text("".join(f"{json.dumps(document)}\n" for document in documents))
    return str(file)


@contextmanager
def pgstac(collections: Sequence[Mapping[str, Any]], items: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """stac-fastapi-pgstac with these documents; yields the URL of its root."""
    python = server_python()
    assert python is not None
    with postgres() as environ, tempfile.TemporaryDirectory() as folder:
        load = [
            ["migrate"],
            ["load", "collections", _lines(folder, "collections.ndjson", collections), "--method", "upsert"],
            ["load", "items", _lines(folder, "items.ndjson", items), "--method", "upsert"],
        ]
        for arguments in load:
            command = [python, "-m", "pypgstac.pypgstac", *arguments]
            done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, timeout=_WAIT_S, check=False)
            assert done.returncode == 0, f"pypgstac {arguments[:2]}: {done.stderr.decode()[-2000:]}"
        port = free_port()
        command = [python, "-m", "uvicorn", "stac_fastapi.pgstac.app:create_app", "--factory", "--host", "127.0.0.1", "--port", str(port)]
        with serving(command, f"http://127.0.0.1:{port}", environ) as url:
            yield url


@contextmanager
def rustac(collections: Sequence[Mapping[str, Any]], items: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """``rustac serve`` with these documents; yields the URL of its root."""
    python = server_python()
    assert python is not None
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, collection in enumerate(collections):
            file = Path(folder) / f"collection-{number}.json"
            file.write_text(json.dumps(collection))
            files.append(str(file))
        everything = Path(folder) / "items.json"
        everything.write_text(json.dumps({"type": "FeatureCollection", "features": list(items)}))
        address = f"127.0.0.1:{free_port()}"
        command = [str(Path(python).with_name("rustac")), "serve", *files, str(everything), "-a", address]
        with serving(command, f"http://{address}") as url:
            yield url
