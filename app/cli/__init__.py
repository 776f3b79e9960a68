"""The command line (see the modules beside this one)."""
