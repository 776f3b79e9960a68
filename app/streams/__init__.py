"""The Stream API: WebSockets under /v1/ (spec 4.12 to 4.14). Never a query for each event and connection."""
