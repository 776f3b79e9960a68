"""Networks across hosts."""
