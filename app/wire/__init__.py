"""JSON in and out, in the names of the Tutum API: parsing and representations. No decisions, no I/O."""
