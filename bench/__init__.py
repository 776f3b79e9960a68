"""Measurements beside the raw engine; not part of the tests. `./tutela bench NAME` runs `python -m bench.NAME`."""
