"""The face of Tutela: HTTP API, command line, process start-up. Composes; decides nothing."""

__version__ = "0.1.0"
