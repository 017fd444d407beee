"""The doctor on a healthy machine, and on one with a single thing broken: that thing has its line, with what to do, and the exit status says so."""

from __future__ import annotations

import json
import socket
import ssl
import sys
from pathlib import Path
from unittest import mock

import pytest
import trustme

import rasteret_sql
from rasteret_sql.collection.lock import locked
from rasteret_sql.doctor import engine, machine
from tests.cli.running import MODULE, environment, run, run_here
from tests.collection.tiffs import write
from tests.doctor.serving import OddServer
from tests.servers.moto import MotoServer

MARKS = {"ok": "✓", "note": "!", "broken": "✗"}


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """Nothing of the tester's own: no profile, no extensions, no proxies, no certificates."""
    gone = dict.fromkeys(("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"), "")
    gone |= dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"), "")
    folder = tmp_path / "home"
    folder.mkdir()
    return {**gone, "HOME": str(folder), "RASTERET_WORKSPACE": str(tmp_path / "workspace")}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write(folder / "a.tif", width=600, height=600)
    return folder


def asked(*words, **env):
    """(exit status, findings) of ``doctor --json``."""
    done = run_here("doctor", *words, "--json", **env)
    assert done.stderr == ""
    said = json.loads(done.stdout)
    assert said["well"] == (done.returncode == 0)
    for finding in said["findings"]:
        assert bool(finding["fix"]) == (finding["level"] != "ok"), finding
        assert "\n" not in finding["text"]
    return done.returncode, said["findings"]


def lines(findings, level, place=None):
    return [f"{f['topic']}: {f['text']} → {f['fix']}" for f in findings if f["level"] == level and place in (None, f["place"])]


def only(findings, level="broken"):
    (line,) = lines(findings, level)
    return line


def test_all_is_well(home):
    status, findings = asked(**home)
    assert (status, lines(findings, "broken")) == (0, [])
    topics = {finding["topic"] for finding in findings}
    assert topics >= {
        "python",
        "packages",
        "codecs",
        "proj",
        "settings",
        "duckdb",
        "sample",
        "workspace",
        "free space",
        "memory",
        "open files",
        "aws",
    }
    packages = next(f["text"] for f in findings if f["topic"] == "packages")
    assert f"duckdb {__import__('duckdb').__version__}" in packages
    assert not Path(home["RASTERET_WORKSPACE"]).exists(), "looking makes nothing"


def test_as_people_see_it(home):
    """The real program: marks in a column, the fix below, and ASCII where the terminal knows no more."""
    done = run("doctor", **home)
    assert (done.returncode, done.stderr) == (0, "")
    body, last = done.stdout.rsplit("\n\n", 1)
    assert last.startswith("all is well")
    rows = body.splitlines()
    assert all(row.startswith(("✓ ", "! ", " " * 16 + "→ ")) for row in rows)
    assert all(row[14:16] == "  " and row[16] != " " for row in rows)
    plain = run("doctor", **{**home, "PYTHONIOENCODING": "ascii"})
    assert plain.returncode == 0
    assert plain.stdout.isascii()
    assert "\nok duckdb" in plain.stdout


# -- this machine ---------------------------------------------------------------------------------------------------------


def test_a_package_that_is_missing(home):
    with mock.patch.dict(sys.modules, {"imagecodecs": None}):
        status, findings = asked(**home)
    assert status == 1
    assert only(findings).startswith("packages: imagecodecs cannot be imported")
    assert "pip install 'imagecodecs>=" in only(findings)
    assert "sample" not in {finding["topic"] for finding in findings}, "what needs it is not tried"


def test_a_codec_that_is_missing(home):
    with mock.patch("imagecodecs.LERC.available", new=False):
        status, findings = asked(**home)
    assert status == 0
    assert any("without lerc" in line for line in lines(findings, "note"))


def test_a_query_that_gives_another_number(home):
    """rasterio is led to another band's file: the check can fail."""
    real = engine.rasterio.open
    with mock.patch.object(engine.rasterio, "open", lambda file: real(str(file).replace("_B4", "_B3"))):
        status, findings = asked(**home)
    assert status == 1
    assert only(findings).startswith("sample: a query on the shipped sample gives [")


def test_extensions_that_are_not_there(home):
    _, findings = asked(**home)
    notes = lines(findings, "note")
    for name in ("spatial", "httpfs", "quack"):
        assert any(line.startswith(f"extension: {name} is not installed: ") and f"INSTALL {name}" in line for line in notes), notes


def test_a_workspace_that_cannot_be_written(home, tmp_path):
    (tmp_path / "file").write_text("")
    status, findings = asked(**{**home, "RASTERET_WORKSPACE": str(tmp_path / "file" / "workspace")})
    assert status == 1
    assert "is a file → set RASTERET_WORKSPACE to a folder" in only(findings)


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="no file system that refuses even root")
def test_a_workspace_of_somebody_else(home):
    status, findings = asked(**{**home, "RASTERET_WORKSPACE": "/sys/kernel"})
    assert status == 1
    assert "/sys/kernel cannot be written: " in only(findings)


def test_builds_that_did_not_end(home, tmp_path):
    workspace = Path(home["RASTERET_WORKSPACE"])
    (workspace / ".s2_stac.building").mkdir(parents=True)
    (workspace / ".s2_stac.building" / "000000.rows.arrow").write_bytes(bytes(2500))
    status, findings = asked(**home)
    assert status == 0
    assert any("a build of 's2' did not end: 2.5 kB" in line and "rasteret-sql collections delete s2" in line for line in lines(findings, "note"))
    with locked(workspace / ".s2.lock", "s2", 0):
        _, findings = asked(**home)
    assert "'s2' is being built right now" in [f["text"] for f in findings]
    assert sorted(path.name for path in workspace.iterdir()) == [".s2_stac.building"]


def test_settings_that_are_wrong(home):
    status, findings = asked(**home, RASTERET_CACHE_BYTES="lots")
    assert status == 1
    assert "RASTERET_CACHE_BYTES = 'lots' is not a whole number" in only(findings)
    status, findings = asked(**home, RASTERET_MAX_BITES="5")
    assert status == 0
    assert any("RASTERET_MAX_BITES is set" in line and "did you mean 'RASTERET_MAX_BYTES'?" in line for line in lines(findings, "note"))


def test_memory_that_is_too_much_for_the_container(home, tmp_path):
    (tmp_path / "memory.max").write_text(f"{200 << 20}\n")
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    with mock.patch.object(machine, "_CGROUPS", tmp_path):
        status, findings = asked(**home, RASTERET_CACHE_BYTES=150 << 20)
    assert status == 0
    notes = lines(findings, "note")
    assert any("more than half of 210 MB the container's limit (cgroup) → RASTERET_CACHE_BYTES=" in line for line in notes), notes
    assert any(line.startswith("processors: 0.5 of ") and "SET threads = 1" in line for line in notes), notes


def test_too_few_open_files(home):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    command = f"ulimit -n 100; exec {' '.join(MODULE).replace(sys.executable, repr(sys.executable))} doctor --json"
    import subprocess

    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, env=environment(**home), check=False)
    assert done.returncode == 0, done.stderr
    assert any(line.startswith("open files: 100 open files are allowed") for line in lines(json.loads(done.stdout)["findings"], "note"))
    assert (soft, hard) == resource.getrlimit(resource.RLIMIT_NOFILE)


# -- credentials and ways out ----------------------------------------------------------------------------------------------


def test_credentials_are_named_never_shown(home):
    profile = Path(home["HOME"]) / ".aws"
    profile.mkdir()
    (profile / "credentials").write_text("[default]\naws_access_key_id = AKIDPROFILE\naws_secret_access_key = TOPSECRET1\n")
    more = {
        "RASTERET_HTTP_HEADERS": json.dumps({"data.example.org": {"Authorization": "Bearer TOPSECRET2"}}),
        "AZURE_STORAGE_ACCOUNT": "acme",
        "AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=TOPSECRET3",
        "https_proxy": "http://user:TOPSECRET4@proxy.example:3128",
    }
    done = run_here("doctor", **home | more)
    assert done.returncode == 0
    assert "keys from the AWS profile default" in done.stdout
    assert "SAS token for account acme" in done.stdout
    assert "https goes through proxy.example:3128" in done.stdout
    assert "TOPSECRET" not in done.stdout
    assert "AKIDPROFILE" not in done.stdout
    in_environment = run_here("doctor", **home, AWS_ACCESS_KEY_ID="AKIDENV", AWS_SECRET_ACCESS_KEY="TOPSECRET5")
    assert "keys from AWS_ACCESS_KEY_ID" in in_environment.stdout
    assert "TOPSECRET" not in in_environment.stdout


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"AWS_PROFILE": "nobody"}, "aws: AWS_PROFILE = 'nobody': there is no such profile"),
        ({"AWS_ACCESS_KEY_ID": "a"}, "aws: AWS_ACCESS_KEY_ID is set, AWS_SECRET_ACCESS_KEY is not"),
        ({"RASTERET_HTTP_HEADERS": "{"}, "headers: RASTERET_HTTP_HEADERS is not JSON"),
        ({"SSL_CERT_FILE": "/no/such.pem"}, "certificates: SSL_CERT_FILE = /no/such.pem: there is no such file → unset SSL_CERT_FILE"),
    ],
    ids=str,
)
def test_variables_that_break_access(home, variables, line):
    status, findings = asked(**home | variables)
    assert status == 1
    assert only(findings).startswith(line)


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        (
            {"REQUESTS_CA_BUNDLE": "/etc/ca.pem"},
            "certificates: REQUESTS_CA_BUNDLE is set, which Python's ssl does not read → export SSL_CERT_FILE=$REQUESTS_CA_BUNDLE",
        ),
        (
            {"AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=x"},
            "azure: AZURE_STORAGE_SAS_TOKEN is set, but not for which account → export AZURE_STORAGE_ACCOUNT",
        ),
    ],
    ids=str,
)
def test_variables_that_do_nothing(home, variables, line):
    _, findings = asked(**home | variables)
    assert any(note.startswith(line) for note in lines(findings, "note"))


# -- places --------------------------------------------------------------------------------------------------------------


def test_a_server_that_is_well(home, files):
    with OddServer(files) as server:
        url = f"{server.url}/a.tif?token=TOPSECRET"
        status, findings = asked(url, **home)
    here = [f for f in findings if f["place"]]
    assert status == 0
    assert {f["place"] for f in here} == {url.partition("?")[0]}
    assert [f["topic"] for f in here] == ["connection", "range", "rate", "geotiff"]
    assert "206, bytes 0-32767/" in here[1]["text"]
    assert "MB/s" in here[2]["text"]
    assert here[3]["text"].startswith("GeoTIFF, 600 x 600 pixels, 16 x 16 a tile")
    assert "TOPSECRET" not in json.dumps(findings)


WRONG = {
    "whole": "range: the server ignores range requests (HTTP 200 where 206 was due)",
    "html": "range: an HTML page came back instead of the file",
    "refused": "range: access denied",
    "clock": "clock: this machine's clock is 60 minutes behind the server's",
}
FIX = {"whole": "object storage, nginx", "html": "answers range requests", "refused": "docs/access.md", "clock": "timedatectl"}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_server_with_one_thing_wrong(home, files, wrong):
    with OddServer(files, wrong) as server:
        status, findings = asked(f"{server.url}/a.tif", **home)
    assert status == 1
    assert only(findings).startswith(WRONG[wrong])
    assert FIX[wrong] in only(findings).partition("→")[2]


def test_a_server_without_etags(home, files):
    with OddServer(files, "etag") as server:
        status, findings = asked(f"{server.url}/a.tif", **home)
    assert status == 0
    assert any("but no ETag → after the file changed" in line for line in lines(findings, "note"))


def test_a_file_that_is_not_there(home, files):
    with OddServer(files) as server:
        status, findings = asked(f"{server.url}/b.tif", **home)
    assert status == 1
    assert only(findings).startswith("range: no such file (HTTP 404)")


def test_a_port_that_nobody_listens_on(home):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    status, findings = asked(f"http://127.0.0.1:{port}/a.tif", **home)
    assert status == 1
    assert only(findings).startswith(f"connection: 127.0.0.1:{port} takes no connection: Connection refused")


def test_a_name_that_nobody_has(home):
    status, findings = asked("https://no-such-host.invalid/a.tif", **home)
    assert status == 1
    assert only(findings).startswith("name: the name no-such-host.invalid:443 is not known")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A certificate authority that nobody knows, and a server's side of TLS with its certificate."""
    made = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.issue_cert("localhost").configure_cert(context)
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    made.cert_pem.write_to_path(str(file))
    return file, context


def test_a_certificate_that_nobody_trusts(home, files, authority):
    """Run as a program: Python's ssl reads SSL_CERT_FILE when the process's first context is made."""
    file, context = authority
    with OddServer(files, context=context) as server:
        done = run("doctor", f"{server.url}/a.tif", "--json", **home)
        findings = json.loads(done.stdout)["findings"]
        assert done.returncode == 1
        assert only(findings).startswith("certificate: the certificate of localhost:")
        assert "export SSL_CERT_FILE=" in only(findings)
        trusted = run("doctor", f"{server.url}/a.tif", "--json", **home | {"SSL_CERT_FILE": str(file)})
    findings = json.loads(trusted.stdout)["findings"]
    assert lines(findings, "broken") == []
    assert any("certificate good until" in f["text"] for f in findings)


def test_http_where_https_was_said(home, files):
    with OddServer(files) as server:
        status, findings = asked(f"{server.url.replace('http', 'https')}/a.tif", **home)
    assert status == 1
    assert only(findings).startswith("tls: ")
    assert "is it http://" in only(findings)


@pytest.fixture(scope="module")
def moto(files):
    with MotoServer() as server:
        server.client().create_bucket(Bucket="scenes")
        server.client().put_object(Bucket="scenes", Key="a.tif", Body=(files / "a.tif").read_bytes())
        yield server


def test_s3_with_keys_and_with_a_wrong_secret(home, moto):
    keys = {"AWS_ENDPOINT_URL": moto.url, "AWS_ACCESS_KEY_ID": moto.keys[0], "AWS_SECRET_ACCESS_KEY": moto.keys[1]}
    status, findings = asked("s3://scenes/a.tif", **home | keys)
    assert (status, lines(findings, "broken")) == (0, [])
    status, findings = asked("s3://scenes/a.tif", **home | keys | {"AWS_SECRET_ACCESS_KEY": "WRONGSECRET"})
    assert status == 1
    assert "SignatureDoesNotMatch" in only(findings)
    assert "the keys are wrong: see `aws` above" in only(findings)
    assert "WRONGSECRET" not in json.dumps(findings)
    assert moto.keys[0] not in json.dumps(findings)


def test_a_collection_by_its_first_file(home, files, tmp_path):
    table = tmp_path / "files.csv"
    with OddServer(files) as server:
        table.write_text(f"id,href\na,{server.url}/a.tif\n")
        rasteret_sql.build_from_table(table, name="mine", href_column="href", workspace=home["RASTERET_WORKSPACE"])
        status, findings = asked("mine", **home)
        assert (status, lines(findings, "broken")) == (0, [])
        texts = [f["text"] for f in findings if f["place"]]
        assert texts[:2] == ["1 records", "first file: b1 of a"]
        assert any(text.startswith("gives the range") for text in texts)
        url = server.url
    status, findings = asked("mine", **home)
    assert status == 1
    assert "takes no connection" in only(findings)
    assert lines(findings, "broken", f"{url}/a.tif")


def test_places_that_are_nothing(home, tmp_path):
    (tmp_path / "text.tif").write_text("not an image")
    status, findings = asked("mien", tmp_path / "text.tif", "ftp://host/a.tif", **home)
    assert status == 1
    assert len(lines(findings, "broken")) == 3
    assert lines(findings, "broken", "mien") == ["place: no URL, no file, and no collection → rasteret-sql collections list shows the names"]
    assert "geotiff: " in lines(findings, "broken", str(tmp_path / "text.tif"))[0]
    assert "ftp:// is not read" in lines(findings, "broken", "ftp://host/a.tif")[0]


def test_the_public_services(home, tmp_path):
    """By mirrors on this machine: one answers, nobody listens at the other."""
    (tmp_path / "v1").write_text(json.dumps({"type": "Catalog", "id": "mirror", "title": "A mirror", "links": []}))
    with OddServer(tmp_path) as server, socket.create_server(("127.0.0.1", 0)) as free:
        gone = f"http://127.0.0.1:{free.getsockname()[1]}"
        free.close()
        endpoints = f"earthsearch={server.url}/v1,pc={gone}/v1"
        status, findings = asked("--network", **home | {"RASTERET_STAC_ENDPOINTS": endpoints})
    assert status == 1
    assert [f["text"].partition(": ")[2] for f in findings if f["place"] == f"{server.url}/v1" and f["topic"] == "service"] == ["A mirror"]
    assert lines(findings, "broken", f"{gone}/v1")[0].startswith("connection: ")


def test_nothing_is_asked_unasked(home):
    """Without places and --network no connection is made."""
    with (
        mock.patch.object(socket, "create_connection", side_effect=AssertionError),
        mock.patch.object(socket, "getaddrinfo", side_effect=AssertionError),
    ):
        status, _ = asked(**home)
    assert status == 0
