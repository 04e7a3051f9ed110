"""Readings and clocks in, changes of alarms out."""
