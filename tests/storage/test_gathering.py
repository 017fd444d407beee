"""Gathering of answers: few wake-ups, all bytes, and a connection that is as it was afterwards."""

from __future__ import annotations

import select
import socket
import sys
import threading

import pytest

from rasteret_sql.storage.gathering import FAST, MARGIN, MOST, Gather

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not heed the option")


def asked_of(connection: socket.socket) -> int:
    return connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)


@pytest.fixture
def pair():
    """A connection over the loopback interface: client, server."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        server, _ = listening.accept()
    with client, server:
        yield client, server


def test_a_fast_answer_is_gathered_and_its_end_is_not(pair):
    client, _ = pair
    gather = Gather(client)
    gather.arrived(FAST, 4 << 20)
    assert asked_of(client) == gather.waiting_for == MOST
    gather.arrived(MOST, MARGIN + 1000)
    assert asked_of(client) == 1000
    gather.arrived(1000, MARGIN)
    assert asked_of(client) == 1
    gather.end()
    assert asked_of(client) == 1


def test_a_slow_answer_is_taken_as_it_comes(pair):
    client, _ = pair
    gather = Gather(client)
    gather.arrived(FAST - 1, 4 << 20)
    assert asked_of(client) == gather.waiting_for == 1
    gather.arrived(FAST, 4 << 20)
    gather.arrived(FAST - 1, 3 << 20)
    assert asked_of(client) == 1


def test_a_closed_connection_and_none_are_no_errors(pair):
    client, _ = pair
    gather = Gather(client)
    client.close()
    gather.arrived(FAST, 4 << 20)
    gather.end()
    Gather(None).arrived(FAST, 4 << 20)


def test_the_end_of_gathering_tells_of_what_has_come(pair):
    """Fewer bytes than were waited for must not stay unheard of: the next answer on a kept connection is short."""
    client, server = pair
    gather = Gather(client)
    gather.arrived(FAST, 4 << 20)
    server.sendall(b"x" * 100)
    heard = threading.Event()

    def listen() -> None:
        if select.select([client], [], [], 5)[0]:
            heard.set()

    thread = threading.Thread(target=listen)
    thread.start()
    assert not heard.wait(0.2)
    gather.end()
    thread.join()
    assert heard.is_set()
