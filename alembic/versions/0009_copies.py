"""Copies of definitions on the hosts, for a rebuild."""

from __future__ import annotations

from pathlib import Path

from alembic import op
from sqlalchemy.util import await_only

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the whole file in the migration's transaction."""
    bind = op.get_bind()
    bind.exec_driver_sql("select 1")  # opens the driver's transaction, which the raw call below then joins
    script = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    await_only(bind.connection.driver_connection.execute(script))


def downgrade() -> None:
    """Rows of the new tables would be lost: go back by restoring the backup made before the upgrade."""
    raise RuntimeError("0009 cannot be downgraded; restore the database from before the upgrade")
