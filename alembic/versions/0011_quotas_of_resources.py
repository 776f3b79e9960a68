"""Quotas of memory and CPU."""

from __future__ import annotations

from app.migrate import run_script

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """As the file beside this one says."""
    run_script(__file__)


def downgrade() -> None:
    """Quotas would be lost: go back by restoring the backup made before the upgrade."""
    raise RuntimeError("0011 cannot be downgraded; restore the database from before the upgrade")
