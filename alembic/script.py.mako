"""${message}; the SQL is in the file beside this one."""

from __future__ import annotations

from app.migrate import run_script

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """As the file beside this one says."""
    run_script(__file__)


def downgrade() -> None:
    """Say here how to go back, or why not."""
    raise NotImplementedError
