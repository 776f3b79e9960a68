"""One transaction for each request that changes something. No wire names, no HTTP."""
