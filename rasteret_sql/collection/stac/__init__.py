"""STAC: searches of APIs and static catalogues, and what an index needs of their items."""
