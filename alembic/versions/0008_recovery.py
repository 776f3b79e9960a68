"""Quarantines of nodes, and the line of the record in which revisions count."""

from __future__ import annotations

from app.migrate import run_script

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """As the file beside this one says."""
    run_script(__file__)


def downgrade() -> None:
    """Rows of the new tables would be lost: go back by restoring the backup made before the upgrade."""
    raise RuntimeError("0008 cannot be downgraded; restore the database from before the upgrade")
