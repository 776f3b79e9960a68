"""Nothing that is asked often reads a table from end to end, and nothing stays for ever."""

from __future__ import annotations

from app.migrate import run_script

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """As the file beside this one says."""
    run_script(__file__)


def downgrade() -> None:
    """Go back by restoring the backup made before the upgrade."""
    raise RuntimeError("0014 cannot be downgraded; restore the database from before the upgrade")
