"""One faulty server, and stores that do not wait long."""

from __future__ import annotations

import random

import pytest

from rasteret_sql.settings import Settings
from rasteret_sql.storage.metrics import Metrics
from rasteret_sql.storage.retry import RetryPolicy
from rasteret_sql.storage.store import Store
from tests.servers.faulty import FaultyServer

DATA = random.Random(7).randbytes(300_000)


@pytest.fixture(scope="session")
def server():
    with FaultyServer(DATA) as running:
        yield running


@pytest.fixture
def path(request):
    """A path of this test's own, with a query string that must stay secret."""
    return f"/{abs(hash(request.node.nodeid)):x}.tif"


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def store(metrics):
    """Retries at once; gives a silent server 0.3 s."""
    return Store(Settings(), metrics, policy=RetryPolicy(base_s=0.001), stall_timeout_s=0.3)


@pytest.fixture
def patient(metrics):
    """Waits long for a silent server, so that nothing but what is tested ends its reads."""
    return Store(Settings(), metrics, policy=RetryPolicy(base_s=0.001), stall_timeout_s=20)
