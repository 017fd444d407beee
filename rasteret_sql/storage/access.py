"""Which rules of access an href falls under, by its kind and the settings of a query."""

from __future__ import annotations

from rasteret_sql.settings import Settings
from rasteret_sql.storage import loop
from rasteret_sql.storage.azure import AzureRoute
from rasteret_sql.storage.hrefs import Location
from rasteret_sql.storage.metrics import Metrics
from rasteret_sql.storage.network import Network
from rasteret_sql.storage.routes import Route
from rasteret_sql.storage.s3 import S3Route, S3Rules


class Access:
    """The rules in force for one store. Reads the environment when S3 is first asked for, not for each request."""

    def __init__(self, settings: Settings) -> None:
        self._s3 = S3Rules.of(settings)
        self._sas_api = settings.sas_api
        self._azure_endpoint = settings.azure_endpoint

    def route(self, location: Location, metrics: Metrics) -> Route:
        """The way to a place that is not local; on the loop only."""
        network = loop.resource(Network)
        if location.kind == "s3":
            return S3Route.to(location, self._s3, network, metrics)
        if location.kind == "azure":
            return AzureRoute.to(location, self._azure_endpoint, self._sas_api, network, metrics)
        return Route(url=location.url or "", host=location.host, network=network, metrics=metrics)
