"""Tables of the first version; the SQL is in the file beside this one."""

from __future__ import annotations

from pathlib import Path

from alembic import op
from sqlalchemy.util import await_only

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the whole file in the migration's transaction."""
    bind = op.get_bind()
    bind.exec_driver_sql("select 1")  # opens the driver's transaction, which the raw call below then joins
    script = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    await_only(bind.connection.driver_connection.execute(script))


def downgrade() -> None:
    """The first version has nothing below it."""
    raise RuntimeError("the first version cannot be downgraded; drop the database instead")
