"""Successors that are made beside their predecessors."""

from __future__ import annotations

from app.migrate import run_script

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """As the file beside this one says."""
    run_script(__file__)


def downgrade() -> None:
    """Go back by restoring the backup made before the upgrade."""
    raise RuntimeError("0016 cannot be downgraded; restore the database from before the upgrade")
