"""Pairs of bands and places in, arrays out: plans, tiles, points, areas."""
