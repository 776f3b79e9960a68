"""One agent per Docker host: it holds the node's assignment and keeps it true, with or without a control plane.

Imports domain, the standard library, structlog and pydantic; `docker` only inside `agents.runtime`. Never
asyncpg, never the orchestrator: an agent knows no database.
"""
