"""Decisions about services: sync, pure, without clock, chance or I/O. See `service.plan_service`."""
