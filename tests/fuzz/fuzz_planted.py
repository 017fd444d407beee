"""No part of the package: a target that does by request what no target should, for the tests of the campaign."""

from __future__ import annotations

import os
import time

from tests.fuzz.bounds import MIB, bounded
from tests.fuzz.campaign import Target, main

SECONDS = 0.3


def check(data: bytes) -> str:
    with bounded(0, seconds=SECONDS):
        if data == b"key":
            raise KeyError(data)
        if data == b"abort":
            os.abort()
        if data == b"hang":
            time.sleep(60)
        if data == b"busy":
            until = time.process_time() + 2 * SECONDS
            while time.process_time() < until:
                pass
        if data in (b"fat", b"greedy"):
            return str(len(bytearray(b"x") * ((400 if data == b"fat" else 8192) * MIB)))
    return "fine"


TARGET = Target("planted", check, most_bytes=16, hang_seconds=10)

if __name__ == "__main__":
    main(TARGET)
