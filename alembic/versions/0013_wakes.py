"""Services to be looked at."""

from __future__ import annotations

from app.migrate import run_script

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """As the file beside this one says."""
    run_script(__file__)


def downgrade() -> None:
    """What is in it would not be looked at: go back by restoring the backup made before the upgrade."""
    raise RuntimeError("0013 cannot be downgraded; restore the database from before the upgrade")
