"""Families of tables of readings: one for each retention class of channels. A class says how long raw
readings are kept; roll-ups of all channels are kept alike."""

from typing import Final

FAMILIES: Final = ("standard", "demo", "long")  # retention classes; `Columns.family` counts them from 0
NUMBERS: Final = {name: number for number, name in enumerate(FAMILIES)}
SUFFIXES: Final = {"standard": "", "demo": "_demo", "long": "_long"}

SAMPLES: Final = tuple("sample" + suffix for suffix in SUFFIXES.values())  # by a family's number
VECTORS: Final = tuple("vector_sample" + suffix for suffix in SUFFIXES.values())
ALL_SAMPLES: Final = "samples"  # views of all families: a channel's class may have changed
ALL_VECTORS: Final = "vector_samples"
