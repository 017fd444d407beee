"""Bytes and numbers: headers, codecs, grids, coverage. No I/O, no asyncio, no Arrow, no SQL."""
