"""``rasteret-sql build``: a dataset for a place and a period becomes a collection."""

from __future__ import annotations

import dataclasses
import shlex
from argparse import Namespace
from typing import TYPE_CHECKING, Any

import rasteret_sql
from rasteret_sql.cli.arguments import Commands, Parser, add_common, box, command, count, names
from rasteret_sql.cli.output import size, write_facts, write_json
from rasteret_sql.errors import InvalidArgument

if TYPE_CHECKING:
    from rasteret_sql.collection.build import BuildReport
    from rasteret_sql.collection.datasets import Dataset


def add_to(commands: Commands[Any]) -> None:
    build = command(
        commands,
        "build",
        "build, or bring up to date, a collection of a dataset: header indexes only, no pixel is fetched",
        [
            "build earthsearch/sentinel-2-l2a --name s2 --bbox 77.5,12.9,77.7,13.1 --dates 2024-01-01/2024-01-31 --bands B04,B08",
            "build pc/nasadem --name heights --bbox 77.5,12.9,77.7,13.1",
            """build earthsearch/sentinel-2-l2a --name clear --bbox 77.5,12.9,77.7,13.1 --dates 2024 --query '{"eo:cloud_cover": {"lt": 20}}'""",
        ],
        run=_run,
    )
    build.add_argument("dataset", metavar="DATASET", help="id of a dataset, as `rasteret-sql datasets list` shows them")
    add_build(build)
    add_search(build)
    add_common(build)


def add_build(parser: Parser) -> None:
    """What every build takes."""
    parser.add_argument("--name", required=True, help="name of the collection in SQL")
    parser.add_argument("--force", action="store_true", help="read every header again")


def add_search(parser: Parser) -> None:
    """Where, when and what to look for."""
    parser.add_argument("--bbox", type=box, metavar="W,S,E,N", help="place, in degrees; W > E across the antimeridian")
    parser.add_argument("--dates", metavar="FROM/TO", help="period, both ends inclusive: 2024-01-01/2024-01-31, 2024-01, 2024/..")
    parser.add_argument("--query", metavar="JSON", help="""conditions on properties, such as '{"eo:cloud_cover": {"lt": 20}}'""")
    parser.add_argument("--max-items", type=count, metavar="N", help="take no more items than this")
    parser.add_argument("--bands", type=names, metavar="B04,B08", help="bands of the dataset (all)")


def run_dataset(arguments: Namespace, dataset: str) -> None:
    """Build from the catalogue; what lacks is answered with a command that works."""
    known = rasteret_sql.datasets(workspace=arguments.workspace)
    if dataset in known:
        check_place(known[dataset], arguments)
    report = rasteret_sql.build(
        dataset,
        name=arguments.name,
        bbox=arguments.bbox,
        date_range=arguments.dates,
        query=arguments.query,
        max_items=arguments.max_items,
        bands=arguments.bands,
        force=arguments.force,
        workspace=arguments.workspace,
    )
    tell(report, as_json=arguments.json)


def check_place(dataset: Dataset, arguments: Namespace) -> None:
    """The same rule as in SQL, in the words of the command line."""
    if dataset.needs_bbox and arguments.bbox is None:
        raise InvalidArgument(f"{dataset.id} is {dataset.coverage}: say where with --bbox W,S,E,N; for example: {example(dataset)}")
    if dataset.needs_dates and arguments.dates is None:
        raise InvalidArgument(f"{dataset.id} is a time series ({dataset.dates}): say when with --dates FROM/TO; for example: {example(dataset)}")


def example(dataset: Dataset) -> str:
    """A command that builds a small part of it."""
    words = ["rasteret-sql", "build", dataset.id, "--name", dataset.id.rpartition("/")[2].replace("-", "_")]
    if dataset.example_bbox:
        words += ["--bbox", ",".join(f"{number:g}" for number in dataset.example_bbox)]
    if dataset.example_dates:
        words += ["--dates", "/".join(dataset.example_dates)]
    return shlex.join(words)


def tell(report: BuildReport, *, as_json: bool) -> None:
    """The report of a build."""
    said = dataclasses.asdict(report)
    if as_json:
        write_json(said)
        return
    period = [f"{moment:%Y-%m-%d}" for moment in (report.first, report.last) if moment is not None]
    said |= {"bytes": size(report.bytes), "seconds": f"{report.seconds:.1f}", "first": None, "last": None}
    write_facts(said | {"dates": " … ".join(dict.fromkeys(period))})


def _run(arguments: Namespace) -> None:
    run_dataset(arguments, arguments.dataset)
