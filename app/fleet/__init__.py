"""Hosts that join and stay: the authority, the agents' door, sessions. No rules of services, no SQL, no Docker."""
