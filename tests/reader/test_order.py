"""In which order a read asks for its bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rasteret_sql.raster.header import Layout
from rasteret_sql.reader.cache import SegmentKey
from rasteret_sql.reader.segments import MAX_REQUEST_BYTES, SegmentJob, request_groups, small_first

LAYOUT = Layout("uint8", "<", 1, 1, 1, 1, 64, 64, True, 8)

jobs = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 40), st.integers(1, MAX_REQUEST_BYTES)), unique_by=lambda job: job[:2], max_size=40
).map(
    lambda drawn: [
        SegmentJob(SegmentKey(href, place * MAX_REQUEST_BYTES, None), nbytes, LAYOUT, 64, None, lambda _: None) for href, place, nbytes in drawn
    ]
)


@given(jobs, st.integers(1, 50), st.integers(1, 8))
def test_small_requests_begin_and_the_others_keep_their_order(jobs: list[SegmentJob], among: int, count: int) -> None:
    def nbytes(group: list[int]) -> int:
        return sum(jobs[position].length for position in group)

    groups = request_groups(jobs)
    ordered = small_first(groups, jobs, among, count)
    assert sorted(ordered) == sorted(groups)
    first, rest = ordered[:count], ordered[count:]
    assert rest == [group for group in groups if group in rest]
    left = [group for group in groups[:among] if group not in first]
    assert all(nbytes(small) <= nbytes(large) for small in first[: min(count, among)] for large in left)
