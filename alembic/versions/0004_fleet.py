"""What placement, lost nodes and drains need to know."""

from __future__ import annotations

from app.migrate import run_script

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """As the file beside this one says."""
    run_script(__file__)


def downgrade() -> None:
    """Rows of the new tables would be lost: go back by restoring the backup made before the upgrade."""
    raise RuntimeError("0004 cannot be downgraded; restore the database from before the upgrade")
