"""${message}; the SQL is in the file beside this one."""

from __future__ import annotations

from pathlib import Path

from alembic import op
from sqlalchemy.util import await_only

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """Run the whole file in the migration's transaction."""
    bind = op.get_bind()
    bind.exec_driver_sql("select 1")  # opens the driver's transaction, which the raw call below then joins
    script = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    await_only(bind.connection.driver_connection.execute(script))


def downgrade() -> None:
    """Say here how to go back, or why not."""
    raise NotImplementedError
