"""Channels that are computed from others: by formulas, by calibrations, at ingest and again afterwards."""
