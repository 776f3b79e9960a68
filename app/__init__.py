"""The face of Tutela: HTTP API, command line, process start-up. Composes orchestrator and agents; decides nothing."""
