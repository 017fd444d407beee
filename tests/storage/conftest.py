"""One faulty server, and stores that do not wait long."""

from __future__ import annotations

import os
import random

import pytest

from rasteret_sql.settings import Settings
from rasteret_sql.storage import loop
from rasteret_sql.storage.aws import Chain
from rasteret_sql.storage.credentials import forget_credentials
from rasteret_sql.storage.metrics import Metrics
from rasteret_sql.storage.retry import RetryPolicy
from rasteret_sql.storage.s3 import Buckets
from rasteret_sql.storage.sas import SasTokens
from rasteret_sql.storage.store import Store
from tests.servers.faulty import FaultyServer

DATA = random.Random(7).randbytes(300_000)


@pytest.fixture(scope="session")
def server():
    with FaultyServer(DATA) as running:
        yield running


@pytest.fixture(autouse=True)
def without_credentials(monkeypatch, tmp_path):
    """No keys but a test's own; what earlier tests learned of buckets and containers is forgotten."""
    for name in [*os.environ]:
        if name.startswith(("AWS_", "AZURE_STORAGE_", "RASTERET_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    yield
    forget_credentials()
    loop.run(forget_learned())


async def forget_learned():
    for kind in (Buckets, SasTokens, Chain):
        loop.resource(kind).__init__()


@pytest.fixture
def path(request):
    """A path of this test's own, with a query string that must stay secret."""
    return f"/{abs(hash(request.node.nodeid)):x}.tif"


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def store(metrics):
    """Retries at once; waits long for a silent server, so that nothing but what is tested ends its reads, however busy the machine is."""
    return Store(Settings(), metrics, policy=RetryPolicy(base_s=0.001), stall_timeout_s=20)


@pytest.fixture
def hasty(metrics):
    """Gives a silent server a second."""
    return Store(Settings(), metrics, policy=RetryPolicy(base_s=0.001), stall_timeout_s=1)
