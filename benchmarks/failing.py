"""A loopback HTTP range server that fails a part of its requests at random, for :mod:`benchmarks.soak`.

    python -m benchmarks.failing FOLDER --rate 0.05 --seed 1

Prints its URL. Each request fails with the probability ``--rate``, in one of the ways of :data:`KINDS`. ``GET /__stats__`` answers JSON: requests,
and how many of them failed in which way; it never fails. Bits are flipped only inside of tiles, as ``FOLDER/tiles.json`` has them,
{path: [[start, stop]…]}: their codec must have a checksum, for nothing could tell of a flip elsewhere (headers have none).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import socket
import struct
from collections import Counter
from pathlib import Path

KINDS = (
    "503",
    "503 with Retry-After",
    "429",
    "500",
    "reset before the answer",
    "reset in the body",
    "truncation",
    "short 206",
    "stall",
    "wrong Content-Range",
    "bit flip",
)
WEIGHTS = {"stall": 0.2}
"""How often a kind comes; 1 where nothing is said. A client notices a stall after 15 s, and all who want that tile wait as long."""
TILES = "tiles.json"
RANGE = re.compile(r"bytes=(\d+)-(\d+)")
STATUSES = {"503": 503, "503 with Retry-After": 503, "429": 429, "500": 500}


class FailingServer:
    """Serves the files of a folder, more or less."""

    def __init__(self, root: Path, rate: float, seed: int, kinds: tuple[str, ...] = KINDS) -> None:
        self.files = {f"/{path.relative_to(root).as_posix()}": path.read_bytes() for path in root.rglob("*.tif")}
        self.tiles: dict[str, list[tuple[int, int]]] = json.loads((root / TILES).read_text())
        self.rate = rate
        self.kinds = kinds
        self.rng = random.Random(seed)
        self.requests = 0
        self.failed: Counter[str] = Counter()

    async def serve(self, port: int = 0) -> None:
        """Until the process ends; prints the URL first."""
        server = await asyncio.start_server(self.connection, "127.0.0.1", port)
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self.answer(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """False when the connection is over."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        path = head.split(" ", 2)[1].partition("?")[0]
        if path == "/__stats__":
            body = json.dumps({"requests": self.requests, "failed": dict(sorted(self.failed.items()))}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            return True
        self.requests += 1
        data, found = self.files.get(path), RANGE.search(head)
        if data is None or found is None:
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return True
        start, stop = int(found[1]), min(int(found[2]) + 1, len(data))
        flips = [(max(first, start), min(last, stop)) for first, last in self.tiles[path] if first < stop and start < last]
        kind = self.fault(may_flip=bool(flips)) if self.rng.random() < self.rate else ""
        if kind:
            self.failed[kind] += 1
        if kind == "bit flip":
            changed = bytearray(data)
            changed[self.rng.randrange(*self.rng.choice(flips))] ^= 1 << self.rng.randrange(8)
            data = bytes(changed)
        return await self.send(reader, writer, kind, data, start, stop)

    def fault(self, *, may_flip: bool) -> str:
        kinds = [kind for kind in self.kinds if may_flip or kind != "bit flip"]
        return self.rng.choices(kinds, [WEIGHTS.get(kind, 1.0) for kind in kinds])[0]

    async def send(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: str, data: bytes, start: int, stop: int) -> bool:
        if kind in STATUSES:
            after = f"Retry-After: {self.rng.choice((0, 1))}\r\n" if "Retry" in kind or kind == "429" else ""
            writer.write(f"HTTP/1.1 {STATUSES[kind]} Failing\r\n{after}Content-Length: 0\r\n\r\n".encode())
            return True
        if kind == "reset before the answer":
            return reset(writer)
        body = bytearray(data[start:stop])
        told = f"bytes {start}-{stop - 1}/{len(data)}"
        if kind == "wrong Content-Range":
            told = f"bytes {start + 1}-{stop}/{len(data)}"
        elif kind == "short 206":
            body = body[: len(body) // 2]
        etag = f'"{len(data)}"'
        writer.write(f"HTTP/1.1 206 Partial\r\nETag: {etag}\r\nContent-Range: {told}\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        if kind not in ("reset in the body", "truncation", "stall"):
            writer.write(body)
            await writer.drain()
            return True
        writer.write(body[: self.rng.randrange(len(body))])
        await writer.drain()
        if kind == "stall":
            await reader.read()  # until the client has had enough
        return reset(writer) if kind == "reset in the body" else False


def reset(writer: asyncio.StreamWriter) -> bool:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.failing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("root", type=Path, help="folder to serve")
    parser.add_argument("--rate", type=float, default=0.05, help="part of the requests that fail (default 0.05)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without", nargs="*", choices=KINDS, default=[], help="ways not to fail in")
    args = parser.parse_args(argv)
    kinds = tuple(kind for kind in KINDS if kind not in args.without)
    asyncio.run(FailingServer(args.root, args.rate, args.seed, kinds).serve())


if __name__ == "__main__":
    main()
