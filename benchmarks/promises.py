"""What is promised of reading points, pixels and headers, held against the results of :mod:`benchmarks.run`.

The reader has its marks against rasterio in a thread pool; SQL has its own against the reader. A promise is looked at where its contenders ran.
"""

from __future__ import annotations

from typing import Any

READER = {"W1": (1 / 2, "rasterio"), "W2": (1 / 3, "rasterio-pool"), "W3": (2 / 3, "rasterio")}
"""At most this part of a peer's time, by the reader itself; of W2 the usual pool, which does not know which fields share tiles."""
SQL = 1.25
"""Through SQL at most so many times the reader's time."""
RSS_MB = 600
BOUNDED = ("W1", "W2")
ORDER = 1.15
"""Between two orders of rows."""
REQUESTS_PER_FILE = 1.1


def check(text: str, met: bool) -> dict[str, Any]:
    return {"text": text, "met": met}


def result(found: dict[str, Any], contender: str, workload: str, source: str = "http", order: str = "shuffled") -> dict[str, Any] | None:
    """What a contender's first call took, in medians; None where it did not run or was wrong."""
    for one in found["results"]:
        if (one["contender"], one["workload"], one.get("source", "http"), one["order"]) == (contender, workload, source, order):
            return None if one["error"] else dict(one["first"])
    return None


def wall(found: dict[str, Any], contender: str, workload: str, source: str = "http", order: str = "shuffled") -> float | None:
    first = result(found, contender, workload, source, order)
    return None if first is None else float(first["wall_s"])


def of_reads(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [*_by_the_reader(found), *_through_sql(found), *_orders(found), *_memory(found), *_fetched(found)]


def _by_the_reader(found: dict[str, Any]) -> list[dict[str, Any]]:
    shown = []
    for workload, (factor, peer) in READER.items():
        ours, theirs = wall(found, "ours-reader", workload), wall(found, peer, workload)
        if ours is not None and theirs is not None:
            text = f"{workload}: {ours:.2f} s by the reader, at most {factor:.2f} × {theirs:.2f} s of {peer} (× {ours / theirs:.2f})"
            shown.append(check(text, ours <= factor * theirs))
    return shown


def _through_sql(found: dict[str, Any]) -> list[dict[str, Any]]:
    shown = []
    for workload in READER:
        sql, reader = wall(found, "ours", workload), wall(found, "ours-reader", workload)
        if sql is not None and reader is not None:
            text = f"{workload}: {sql:.2f} s through SQL, at most {SQL} × {reader:.2f} s of the reader (× {sql / reader:.2f})"
            shown.append(check(text, sql <= SQL * reader))
    return shown


def _orders(found: dict[str, Any]) -> list[dict[str, Any]]:
    shown = []
    for workload in BOUNDED:
        shuffled, ordered = (wall(found, "ours", workload, order=order) for order in ("shuffled", "sorted"))
        if shuffled is not None and ordered is not None:
            apart = max(shuffled, ordered) / min(shuffled, ordered)
            text = f"{workload}: {shuffled:.2f} s with rows in any order, {ordered:.2f} s in the order of tiles (× {apart:.2f}, at most {ORDER})"
            shown.append(check(text, apart <= ORDER))
    return shown


def _memory(found: dict[str, Any]) -> list[dict[str, Any]]:
    peaks = {workload: first["rss_bytes"] / 1e6 for workload in BOUNDED if (first := result(found, "ours", workload)) is not None}
    if not peaks:
        return []
    text = ", ".join(f"{workload} {peak:.0f} MB" for workload, peak in peaks.items())
    return [check(f"peak RSS at most {RSS_MB} MB: {text}", max(peaks.values()) <= RSS_MB)]


def _fetched(found: dict[str, Any]) -> list[dict[str, Any]]:
    ours = [one for one in found["results"] if one["contender"] == "ours" and not one["error"]]
    over = [f"{one['workload']}/{one['order']}" for one in ours if not (one["within_requests"] and one["within_bytes"])]
    shown = [check(f"at most one request per distinct tile, at most 1.03 × their bytes{': not ' + ', '.join(over) if over else ''}", not over)]
    for one in ours:
        if one["workload"] == "W5":
            files = found["truth"][f"W5/{one['order']}"]["files"]
            requests = one["first"]["requests"]
            text = f"W5: {requests:.0f} requests for {files} files, at most {REQUESTS_PER_FILE} each"
            shown.append(check(text, requests <= REQUESTS_PER_FILE * files))
    return shown
