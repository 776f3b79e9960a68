"""Stand-ins with behaviour; the conformance suite holds them to what the real thing does."""
