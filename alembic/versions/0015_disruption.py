"""When most hosts were last silent at once."""

from __future__ import annotations

from app.migrate import run_script

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """As the file beside this one says."""
    run_script(__file__)


def downgrade() -> None:
    """Go back by restoring the backup made before the upgrade."""
    raise RuntimeError("0015 cannot be downgraded; restore the database from before the upgrade")
