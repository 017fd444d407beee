"""Statistics of zones against exactextract, against numbers worked out by hand, and against themselves cut into parts."""

from __future__ import annotations

import math
import re
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rasteret_sql.errors import InvalidArgument
from rasteret_sql.raster.partials import Needs, Partial, ZonePixels, merge_partials, reduce_pixels
from rasteret_sql.raster.statistics import DEFINITIONS, Arrays, Counts, Numbers, Places, Shares, finish, needs_of, parse_statistics

EVERY = [*(name for name in DEFINITIONS if name != "quantile"), "quantile(0)", "quantile(0.1)", "quantile(0.9)", "quantile(1)"]
ALL = Needs(variance=True, extremes=True, points=True, distribution=True, arrays=True, weights=True)


def zone_pixels(zone, values, **others):
    """The pixels of zones given pixel by pixel, in any order."""
    zone, values = np.asarray(zone), np.asarray(values)
    order = np.argsort(zone, kind="stable")
    zones, counts = np.unique(zone, return_counts=True)
    source = others.pop("source", 0)
    arrays = {name: None if array is None else np.asarray(array)[order] for name, array in others.items()}
    return ZonePixels(zones, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), values[order], source=source, **arrays)


def plain(result, zones):
    """A result as one Python value per zone, None for NULL."""
    if isinstance(result, (Numbers, Counts)):
        return [value if valid else None for value, valid in zip(result.values.tolist(), result.valid.tolist(), strict=True)]
    if isinstance(result, Places):
        rows = np.stack([result.source, result.row, result.col], axis=1).tolist()
        return [tuple(row) if valid else None for row, valid in zip(rows, result.valid.tolist(), strict=True)]
    ends = np.cumsum(result.lengths)
    cuts = list(zip((ends - result.lengths).tolist(), ends.tolist(), strict=True))
    assert len(cuts) == zones
    if isinstance(result, Shares):
        return [dict(zip(result.keys[a:b].tolist(), result.shares[a:b].tolist(), strict=True)) if b > a else None for a, b in cuts]
    assert isinstance(result, Arrays)
    return [result.values[a:b].tolist() if b > a else None for a, b in cuts]


def answers(partial, zones, names=EVERY):
    """Zone → statistic → value."""
    statistics = parse_statistics(names)
    columns = [plain(result, len(zones)) for result in finish(partial, np.asarray(zones, dtype=np.int64), statistics)]
    return {zone: {s.label: column[i] for s, column in zip(statistics, columns, strict=True)} for i, zone in enumerate(zones)}


def of_one(values, names=EVERY, **others):
    """The statistics of the pixels of one zone."""
    values = np.asarray(values)
    others.setdefault("weights", np.ones(len(values)))
    others.setdefault("rows", np.zeros(len(values), dtype=np.int64))
    others.setdefault("cols", np.arange(len(values)))
    return answers(reduce_pixels(zone_pixels(np.zeros(len(values), dtype=np.int64), values, **others), ALL), [0], names)[0]


class TestByHand:
    """The worked example of the module's docstring: half of ``1 2 2`` and all of ``5 - 7``."""

    def test_the_worked_example(self):
        found = of_one(
            np.array([1, 2, 2, 5, -1, 7], dtype=np.int16),
            valid=np.array([True, True, True, True, False, True]),
            coverage=np.array([0.5, 0.5, 0.5, 1, 1, 1]),
            rows=np.array([0, 0, 0, 1, 1, 1]),
            cols=np.array([0, 1, 2, 0, 1, 2]),
            weights=np.array([2, 0, 1, 1, np.nan, 1]),
        )
        m2 = 0.5 * 1 + 1 * 4 + 1 * 25 + 1 * 49 - 14.5**2 / 3.5
        assert found == {
            "count": 3.5,
            "sum": 14.5,
            "mean": pytest.approx(14.5 / 3.5),
            "median": 4.0625,
            "min": 1,
            "max": 7,
            "mode": 7,
            "minority": 1,
            "variety": 4,
            "var_pop": pytest.approx(m2 / 3.5),
            "var_samp": pytest.approx(m2 / 2.5),
            "stddev_pop": pytest.approx(math.sqrt(m2 / 3.5)),
            "stddev_samp": pytest.approx(math.sqrt(m2 / 2.5)),
            "frac": pytest.approx({1: 1 / 7, 2: 2 / 7, 5: 2 / 7, 7: 2 / 7}),
            "values": [1, 2, 2, 5, 7],
            "coverage": [0.5, 0.5, 0.5, 1, 1],
            "min_point": (0, 0, 0),
            "max_point": (0, 1, 2),
            # weights × coverage: 1, 0, 0.5, 1, 1
            "weighted_sum": 1 * 1 + 0.5 * 2 + 5 + 7,
            "weighted_mean": 14 / 3.5,
            "valid_fraction": 3.5 / 4.5,
            "quantile_0": 1,
            # s = 0, 2.5, 6.5, 10.5; 0.1 of the last is 1.05, between the first two
            "quantile_10": pytest.approx(1 + 1.05 * 1 / 2.5),
            "quantile_90": pytest.approx(5 + (9.45 - 6.5) * 2 / 4),
            "quantile_100": 7,
        }

    def test_a_zone_without_valid_pixels_is_empty(self):
        found = of_one(np.array([3, 4], dtype=np.uint8), valid=np.array([False, False]))
        assert found.pop("count") == 0
        assert found.pop("valid_fraction") == 0
        assert set(found.values()) == {None}

    def test_a_zone_the_partial_does_not_have_is_empty(self):
        partial = reduce_pixels(zone_pixels([5], [1.5], weights=[1.0], rows=[0], cols=[0]), ALL)
        found = answers(partial, [7, 5, 2])
        assert found[5]["mean"] == 1.5
        assert found[5]["values"] == [1.5]
        for zone in (2, 7):
            assert found[zone].pop("count") == 0
            assert set(found[zone].values()) == {None}

    def test_nothing_merged_is_empty(self):
        found = answers(merge_partials([], ALL), [3])[3]
        assert found.pop("count") == 0
        assert set(found.values()) == {None}
        assert answers(merge_partials([merge_partials([], ALL)] * 2, ALL), []) == {}

    def test_nan_never_poisons_a_zone(self):
        assert of_one(np.array([1, np.nan, 3], dtype=np.float32), ["mean", "max", "count", "valid_fraction"]) == {
            "mean": 2,
            "max": 3,
            "count": 2,
            "valid_fraction": pytest.approx(2 / 3),
        }

    def test_infinities_make_no_number_where_there_is_none(self):
        found = of_one([1, np.inf, -np.inf], ["sum", "mean", "var_pop", "min", "max", "quantile(0)", "median"])
        assert found == {"sum": None, "mean": None, "var_pop": None, "min": -np.inf, "max": np.inf, "quantile_0": -np.inf, "median": 1}

    def test_uncovered_pixels_take_no_part(self):
        found = of_one(np.array([9, 1, 2], dtype=np.uint8), ["max", "variety", "count"], coverage=np.array([0, 1, 0.5]))
        assert found == {"max": 2, "variety": 2, "count": 1.5}

    @pytest.mark.parametrize("coverage", [[1.0], [0.25]])
    def test_no_sample_variance_up_to_a_count_of_1(self, coverage):
        found = of_one([4.0], ["var_pop", "var_samp", "stddev_samp"], coverage=np.array(coverage))
        assert found == {"var_pop": 0, "var_samp": None, "stddev_samp": None}

    def test_the_unknown_weight_of_a_valid_pixel_is_null_that_of_another_is_not(self):
        names = ["weighted_sum", "weighted_mean", "mean"]
        values, weights = np.array([1, 2, 3]), np.array([1, np.nan, 1])
        assert of_one(values, names, weights=weights) == {"weighted_sum": None, "weighted_mean": None, "mean": 2}
        assert of_one(values, names, weights=weights, valid=np.array([True, False, True])) == {"weighted_sum": 4, "weighted_mean": 2, "mean": 2}
        assert of_one(values, names, weights=np.zeros(3)) == {"weighted_sum": 0, "weighted_mean": None, "mean": 2}

    @pytest.mark.parametrize(("dtype", "base"), [(np.int64, 2**53), (np.int64, -(2**63)), (np.uint64, 2**64 - 8)])
    def test_64_bit_integers_stay_apart(self, dtype, base):
        values = np.array([base + 1, base, base + 1, base + 2], dtype=dtype)
        partial = reduce_pixels(zone_pixels([0] * 4, values, rows=[0] * 4, cols=range(4)), Needs(points=True, distribution=True))
        assert partial.distribution.values.tolist() == [base, base + 1, base + 2]
        assert answers(partial, [0], ["variety", "min_point", "max_point"])[0] == {"variety": 3, "min_point": (0, 0, 1), "max_point": (0, 0, 3)}

    def test_the_whole_range_of_64_bits(self):
        values = np.array([2**63 - 1, -(2**63), 0, 0], dtype=np.int64)
        assert reduce_pixels(zone_pixels([0] * 4, values), Needs(distribution=True)).distribution.values.tolist() == [-(2**63), 0, 2**63 - 1]

    def test_integer_sums_are_exact(self):
        values = np.full(100_001, 2**32 - 1, dtype=np.uint32)
        assert of_one(values, ["sum", "var_pop"]) == {"sum": 100_001 * (2**32 - 1), "var_pop": 0}

    def test_variance_far_from_zero(self):
        values = np.array([1e9, 1e9 + 1, 1e9 + 2] * 1000)
        parts = [reduce_pixels(zone_pixels(np.zeros(len(v), dtype=int), v), Needs(variance=True)) for v in np.array_split(values, 7)]
        assert answers(merge_partials(parts, Needs(variance=True)), [0], ["var_pop"])[0]["var_pop"] == pytest.approx(2 / 3, rel=1e-9)

    def test_a_constant_zone_has_no_variance_at_all(self):
        rng = np.random.default_rng(1)
        parts = [reduce_pixels(zone_pixels([0] * 50, np.full(50, 0.1), coverage=rng.random(50) + 0.01), Needs(variance=True)) for _ in range(9)]
        assert answers(merge_partials(parts, Needs(variance=True)), [0], ["var_pop", "stddev_samp"])[0] == {"var_pop": 0, "stddev_samp": 0}

    def test_equal_extremes_are_the_first_in_time_row_and_col(self):
        late = zone_pixels([0, 0], np.array([1, 5]), rows=[0, 0], cols=[0, 1], source=4)
        early = zone_pixels([0, 0, 0], np.array([5, 1, 1]), rows=[7, 7, 6], cols=[3, 2, 9], source=2)
        for parts in ([late, early], [early, late]):
            merged = merge_partials([reduce_pixels(part, Needs(points=True)) for part in parts], Needs(points=True))
            assert answers(merged, [0], ["min_point", "max_point"])[0] == {"min_point": (2, 6, 9), "max_point": (2, 7, 3)}

    def test_memory_of_a_distribution_grows_with_its_values_only(self):
        values = np.random.default_rng(2).integers(0, 40, 200_000).astype(np.uint16)
        needs = Needs(distribution=True)
        part = reduce_pixels(zone_pixels(np.arange(200_000) % 5, values), needs)
        merged = merge_partials([part] * 20, needs)
        assert len(part.distribution.values) == len(merged.distribution.values) == 5 * 40
        assert part.pixels is None

    def test_what_is_missing_is_said(self):
        bare = zone_pixels([0], [1.0])
        for needs, words in ((Needs(weights=True), "weights"), (Needs(points=True), "rows"), (Needs(arrays=True), "rows")):
            with pytest.raises(ValueError, match=words):
                reduce_pixels(bare, needs)
        partial = reduce_pixels(bare, Needs())
        for name in ("median", "mode", "variety", "frac", "min", "max_point", "values", "var_pop", "weighted_sum"):
            with pytest.raises(ValueError, match=name):
                answers(partial, [0], [name])
        with pytest.raises(ValueError, match="other statistics"):
            merge_partials([partial, partial], Needs(variance=True))


class TestNames:
    @pytest.mark.parametrize(
        ("text", "label", "quantile"),
        [
            ("mean", "mean", None),
            ("  STDDEV_Pop ", "stddev_pop", None),
            ("quantile(0.9)", "quantile_90", 0.9),
            ("Quantile( .9 )", "quantile_90", 0.9),
            ("quantile (q = 0.975)", "quantile_97_5", 0.975),
            ("quantile(0)", "quantile_0", 0),
            ("quantile(-0.0)", "quantile_0", 0),
            ("quantile(1)", "quantile_100", 1),
            ("quantile(1.)", "quantile_100", 1),
            ("quantile(1e-3)", "quantile_0_1", 0.001),
            ("quantile(0.29)", "quantile_29", 0.29),
        ],
    )
    def test_read(self, text, label, quantile):
        (found,) = parse_statistics([text])
        assert (found.label, found.quantile) == (label, quantile)

    @pytest.mark.parametrize(
        ("asked", "words"),
        [
            (["stdev"], "unknown statistic 'stdev'; did you mean 'stddev_pop'?; valid: count, sum, mean"),
            (["std"], "did you mean 'stddev_pop'?"),
            (["Variance"], "did you mean 'var_pop'?"),
            (["average"], "did you mean 'mean'?"),
            (["majority"], "did you mean 'mode'?"),
            (["percentile_90"], "did you mean 'quantile(0.9)'?"),
            (["quantile_97_5"], "did you mean 'quantile(0.975)'?"),
            (["unique"], "did you mean 'variety'?"),
            (["medain"], "did you mean 'median'?"),
            (["xyz"], "unknown statistic 'xyz'; valid:"),
            ([""], "'' is not a statistic"),
            ([None], "'None' is not a statistic"),
            (["mean; drop table"], "is not a statistic"),
            (["quantile"], "takes one number from 0 to 1; write quantile(0.9)"),
            (["quantile()"], "takes one number"),
            (["quantile(90)"], "takes one number from 0 to 1"),
            (["quantile(-0.1)"], "takes one number"),
            (["quantile(nan)"], "takes one number"),
            (["quantile(0.1, 0.2)"], "takes one number"),
            (["mean(1)"], "mean takes no argument"),
            ([], "no statistic is asked for; valid: count"),
            (["mean", " MEAN"], "'mean' is asked for twice"),
            (["quantile(.5)", "quantile(q=0.50)"], "'quantile_50' is asked for twice"),
        ],
    )
    def test_refused_in_one_line(self, asked, words):
        with pytest.raises(InvalidArgument, match=re.escape(words)) as caught:
            parse_statistics(asked)
        assert "\n" not in str(caught.value)

    def test_the_error_names_all(self):
        with pytest.raises(InvalidArgument) as caught:
            parse_statistics(["nothing_like_it"])
        listed = str(caught.value).split("valid: ")[1].split(", ")
        assert [name.removesuffix("(q)") for name in listed] == list(DEFINITIONS)

    def test_needs_are_those_of_the_names(self):
        assert needs_of(parse_statistics(["count", "sum", "mean", "valid_fraction"])) == Needs()
        assert needs_of(parse_statistics(["median", "min", "var_samp"])) == Needs(distribution=True, extremes=True, variance=True)
        assert needs_of(parse_statistics(EVERY)) == ALL

    def test_every_result_is_of_the_kind_that_is_announced(self):
        statistics = parse_statistics(EVERY)
        pixels = zone_pixels([0, 1], [1.0, 2.0], weights=[1.0, 1.0], rows=[0, 0], cols=[0, 1])
        for statistic, result in zip(statistics, finish(reduce_pixels(pixels, ALL), np.array([1, 0]), statistics), strict=True):
            assert type(result) is DEFINITIONS[statistic.name].kind


# --- exactextract -----------------------------------------------------------------------------------------------------------------

REL = 1e-9
"""exactextract's sums run in float64 over float32 coverages, which are fed here as they are: only the order of summation differs."""
KINDS = ["uint8", "int16", "uint16", "int32", "float32", "float64"]


def rasters(kind, rng):
    """A raster of 12 × 15 with few and with many distinct values, and the value that is nodata."""
    few = rng.integers(0, 6, (12, 15))
    many = rng.normal(0, 40, (12, 15)) if kind.startswith("float") else rng.integers(0, 250, (12, 15))
    low = -3 if kind in ("int16", "int32", "float32", "float64") else 0
    for values in (few + low, many, np.full((12, 15), 7)):
        raster = values.astype(kind)
        raster[rng.random(raster.shape) < 0.2] = 99
        yield raster


def polygons(rng):
    import shapely

    yield shapely.box(0.5, 0.25, 14.3, 11.75)
    yield shapely.box(3.2, 3.2, 3.6, 3.4)  # inside one pixel
    yield shapely.box(-4, -4, 3.3, 2.6)  # over the edge
    for _ in range(4):
        yield shapely.Point(rng.uniform(2, 13), rng.uniform(2, 10)).buffer(rng.uniform(0.4, 5))
    yield shapely.MultiPolygon([shapely.box(1, 1, 4.5, 3.3), shapely.box(8.1, 2, 13, 9.9).difference(shapely.box(9, 4, 11, 6.2))])


def oracle(raster, polygon, weights, names, nodata=99):
    """exactextract's answers, as Python values; the polygon on the grid with its lower left corner at (0, 0)."""
    import shapely
    from exactextract import exact_extract
    from exactextract.raster import NumPyRasterSource

    height, width = raster.shape
    feature = {"type": "Feature", "id": 1, "properties": {}, "geometry": shapely.geometry.mapping(polygon)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = NumPyRasterSource(raster, 0, 0, width, height, nodata=nodata)
        found = exact_extract(source, [feature], names, weights=NumPyRasterSource(weights, 0, 0, width, height))
    return found[0]["properties"]


def fed(raster, polygon, weights):
    """The pixels exactextract finds under the polygon, nodata among them, for our functions; cut from a raster without nodata."""
    found = oracle(np.zeros_like(raster), polygon, weights, ["coverage", "cell_id"], nodata=None)
    rows, cols = np.divmod(np.asarray(found["cell_id"], dtype=np.int64), raster.shape[1])
    values = raster[rows, cols]
    return {
        "values": values,
        "valid": values != 99,
        "coverage": np.asarray(found["coverage"], dtype=np.float64),
        "weights": weights[rows, cols],
        "rows": rows,
        "cols": cols,
    }


def check(found, raster, polygon, weights):
    names = {
        "count": "count",
        "sum": "sum",
        "mean": "mean",
        "min": "min",
        "max": "max",
        "mode": "mode",
        "minority": "minority",
        "variety": "variety",
        "stddev_pop": "stdev",
        "var_pop": "variance",
        "weighted_sum": "weighted_sum",
        "weighted_mean": "weighted_mean",
    }
    listed = ["values", "coverage", "unique", "frac", "min_center_x", "min_center_y", "max_center_x", "max_center_y"]
    theirs = oracle(raster, polygon, weights, [*names.values(), *listed])
    if theirs["count"] == 0:
        assert found["count"] == 0
        assert {value for name, value in found.items() if name not in ("count", "valid_fraction")} == {None}
        return
    for ours, name in names.items():
        assert found[ours] == pytest.approx(theirs[name], rel=REL, abs=1e-9), ours
    assert found["values"] == theirs["values"].tolist()
    assert found["coverage"] == pytest.approx(theirs["coverage"].tolist(), rel=1e-12)
    assert found["frac"] == pytest.approx(dict(zip(theirs["unique"].tolist(), theirs["frac"].tolist(), strict=True)), rel=REL)
    for point in ("min", "max"):
        _, row, col = found[f"{point}_point"]
        assert (col + 0.5, raster.shape[0] - row - 0.5) == (theirs[f"{point}_center_x"], theirs[f"{point}_center_y"])
    # its quantiles of integers lose their fractions, so they are asked of the same numbers as float64
    quantiles = oracle(
        raster.astype(np.float64), polygon, weights, ["median", "quantile(q=0)", "quantile(q=0.1)", "quantile(q=0.9)", "quantile(q=1)"]
    )
    for name, value in quantiles.items():
        assert found[name] == pytest.approx(value, rel=REL, abs=1e-9), name


@pytest.mark.parametrize("kind", KINDS)
def test_exactextract_says_the_same(kind):
    pytest.importorskip("exactextract")
    rng = np.random.default_rng(KINDS.index(kind))
    weights = rng.random((12, 15))
    for raster in rasters(kind, rng):
        shapes = list(polygons(rng))
        everything = [fed(raster, polygon, weights) for polygon in shapes]
        zone = np.repeat(np.arange(len(shapes)), [len(one["values"]) for one in everything])
        pixels = zone_pixels(zone, **{name: np.concatenate([one[name] for one in everything]) for name in everything[0]})
        found = answers(reduce_pixels(pixels, ALL), range(len(shapes)))
        for number, polygon in enumerate(shapes):
            check(found[number], raster, polygon, weights)


def test_exactextract_cuts_off_the_fraction_of_integer_quantiles():
    """The one difference that is meant: ours are fractional for every type."""
    pytest.importorskip("exactextract")
    import shapely

    raster = np.array([[1, 2]], dtype=np.int32)
    assert oracle(raster, shapely.box(0, 0, 2, 1), np.ones((1, 2)), ["median"])["median"] == 1
    assert of_one(raster[0], ["median"]) == {"median": 1.5}


# --- parts ------------------------------------------------------------------------------------------------------------------------


@st.composite
def pixel_sets(draw):
    """Pixels of several zones and records with the part each is cut into; coverages of 1/256, so that their sums are exact."""
    kind = draw(st.sampled_from(["uint8", "int16", "uint16", "int64", "uint64", "float32", "float64"]))
    number = draw(st.integers(1, 120))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = draw(st.sampled_from([1, 6, 200, 10**6]))
    values = rng.integers(0, spread, number) * (0.25 if kind.startswith("float") else 1)
    info = None if kind.startswith("float") else np.iinfo(kind)
    values = (values % min(spread, 200) if info is not None and info.max < spread else values).astype(kind)
    if kind.startswith("float"):
        values[rng.random(number) < 0.1] = np.nan
    return {
        "zone": rng.integers(0, draw(st.sampled_from([1, 3, 60])), number),
        "values": values,
        "valid": draw(st.sampled_from([None, 0.5, 0.95])),
        "whole": draw(st.booleans()),
        "part": rng.integers(0, draw(st.integers(1, 9)), number),
        "source": rng.integers(0, 3, number),
        "rng": rng,
    }


def parts_of(given_pixels):
    """The set as one table of pixels, and the partials of its parts (one record each)."""
    rng, number = given_pixels["rng"], len(given_pixels["values"])
    table = {
        "zone": given_pixels["zone"],
        "values": given_pixels["values"],
        "valid": None if given_pixels["valid"] is None else rng.random(number) < given_pixels["valid"],
        "coverage": None if given_pixels["whole"] else rng.integers(1, 257, number) / 256,
        "weights": rng.integers(0, 17, number) / 16,
        "rows": rng.permutation(number),
        "cols": rng.integers(0, 5, number),
    }
    parts = []
    for part in range(int(given_pixels["part"].max()) + 1):
        for source in range(3):
            mine = (given_pixels["part"] == part) & (given_pixels["source"] == source)
            if mine.any():
                pixels = {name: None if array is None else array[mine] for name, array in table.items()}
                parts.append(reduce_pixels(zone_pixels(**pixels, source=source), ALL))
    return table, parts


def assert_same(one, other, exact):
    """Sums differ by rounding; everything else is the same to the bit."""
    rounded = {"sum", "mean", "var_pop", "var_samp", "stddev_pop", "stddev_samp", "weighted_sum", "weighted_mean"}
    for zone, found in one.items():
        for name, value in found.items():
            if name in rounded and not exact and value is not None:
                scale = max(map(abs, found["values"])) ** (2 if name.startswith("var") else 1)
                assert other[zone][name] == pytest.approx(value, rel=1e-12, abs=1e-12 * scale), name
            else:
                assert other[zone][name] == value, name


def straight(table, sources, zone):
    """Statistics written down as their formulas, pixel by pixel."""
    values = table["values"]
    mine = (table["zone"] == zone) & (values == values) & (True if table["valid"] is None else table["valid"])
    coverage = np.ones(len(values)) if table["coverage"] is None else table["coverage"]
    found = sorted(
        zip(
            sources[mine].tolist(),
            table["rows"][mine].tolist(),
            table["cols"][mine].tolist(),
            values[mine].tolist(),
            coverage[mine].tolist(),
            strict=True,
        )
    )
    shares: dict[float, float] = {}
    for *_, value, share in found:
        shares[value] = shares.get(value, 0) + share
    return found, shares


@settings(max_examples=120, deadline=None)
@given(pixel_sets(), st.randoms(use_true_random=False))
def test_parts_in_any_order_make_the_whole(given_pixels, shuffler):
    table, parts = parts_of(given_pixels)
    zones = sorted(set(given_pixels["zone"].tolist()))
    first = answers(merge_partials(parts, ALL), zones)
    assert_same(first, answers(merge_partials(parts, ALL), zones), exact=True)
    shuffled = list(parts)
    shuffler.shuffle(shuffled)
    assert_same(first, answers(merge_partials(shuffled, ALL), zones), exact=False)
    step: Partial = shuffled[0]
    for part in shuffled[1:]:
        step = merge_partials([step, part], ALL)
    assert_same(first, answers(step, zones), exact=False)
    for zone in zones:
        found, shares = straight(table, given_pixels["source"], zone)
        ours = first[zone]
        assert ours["count"] == sum(pixel[4] for pixel in found)
        assert ours["values"] == ([pixel[3] for pixel in found] or None)
        assert ours["coverage"] == ([pixel[4] for pixel in found] or None)
        if found:
            assert ours["frac"] == {value: share / ours["count"] for value, share in sorted(shares.items())}
            assert list(ours["frac"]) == sorted(shares)
            assert ours["mode"] == float(max(shares, key=lambda value: (shares[value], value)))
            assert ours["minority"] == float(min(shares, key=lambda value: (shares[value], value)))
            assert ours["min_point"] == min(found, key=lambda pixel: (pixel[3], pixel[:3]))[:3]
            assert ours["max_point"] == min(found, key=lambda pixel: (-pixel[3], pixel[:3]))[:3]
            mean = math.fsum(p[3] * p[4] for p in found) / ours["count"]
            m2 = math.fsum(p[4] * (p[3] - mean) ** 2 for p in found)
            assert ours["mean"] == pytest.approx(mean, rel=1e-12)
            assert ours["var_pop"] == pytest.approx(m2 / ours["count"], rel=1e-12, abs=1e-12 * mean * mean)


@pytest.mark.parametrize("kind", ["int32", "float64"])
@pytest.mark.parametrize("zones", [1, 700])
def test_many_distinct_values_are_sorted_as_they_would_be_counted(kind, zones):
    """Short and long runs, with and without coverage, take different ways to the same distribution."""
    rng = np.random.default_rng(zones)
    values = (rng.integers(-(2**31), 2**31, 900) // 3).astype(kind)[rng.integers(0, 900, 5000)]
    zone = rng.integers(0, zones, 5000)
    for coverage in (None, rng.integers(1, 257, 5000) / 256):
        found = reduce_pixels(zone_pixels(zone, values, coverage=coverage), Needs(distribution=True)).distribution
        keys, at = np.unique(np.stack([zone, values.astype(np.int64)]), axis=1, return_inverse=True)
        assert found.values.astype(np.int64).tolist() == keys[1].tolist()
        assert found.coverage.tolist() == np.bincount(at.ravel(), weights=coverage).tolist()
        assert np.diff(found.starts).tolist() == np.unique(keys[0], return_counts=True)[1].tolist()
