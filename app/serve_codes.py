"""Exit codes of the server process; apart so that the command line need not import the server."""

CLEAN, FAILED, BAD_SETTINGS, TAKEN = 0, 1, 2, 3
