"""Tables of the first version; the SQL is in the file beside this one."""

from __future__ import annotations

from app.migrate import run_script

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """As the file beside this one says."""
    run_script(__file__)


def downgrade() -> None:
    """The first version has nothing below it."""
    raise RuntimeError("the first version cannot be downgraded; drop the database instead")
