"""`python -m app.migrate [DSN]`: bring the database to the newest version, in a process of its own.

The server starts this instead of importing SQLAlchemy and alembic itself (28 MB). Without an argument the DSN
is read from DATABASE_URL, which keeps its password out of the process list.

Exit codes: 0 done, 64 no DSN, 65 the migration failed, 75 the database cannot be reached (worth a retry).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

DONE, USAGE, FAILED, AWAY = 0, 64, 65, 75
ROOT = Path(__file__).resolve().parent.parent


def upgrade(dsn: str, *, script_location: Path | None = None, revision: str = "head") -> None:
    """Run every missing version up to the revision in one transaction.

    Raises what the driver, SQLAlchemy or alembic raise.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(script_location or ROOT / "alembic").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["dsn"] = dsn
    command.upgrade(config, revision)


def run_script(version: str) -> None:
    """Run the SQL file beside a version (its `__file__`) in the migration's transaction.

    For versions only. A prepared statement of asyncpg is one statement, so the driver gets the script itself.
    """
    from alembic import op
    from sqlalchemy.util import await_only

    bind = op.get_bind()
    bind.exec_driver_sql("select 1")  # opens the driver's transaction, which the raw call below then joins
    driver: Any = bind.connection.driver_connection
    await_only(driver.execute(Path(version).with_suffix(".sql").read_text(encoding="utf-8")))


def newest() -> str:
    """The version of the schema that this code is for."""
    return max(path.stem.split("_", 1)[0] for path in (ROOT / "alembic" / "versions").glob("[0-9]*.py"))


def classify(error: BaseException) -> tuple[int, str]:
    """The exit code and one line for an error of `upgrade`. SQLSTATE 08 and 57P mean: not there now."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    for link in chain:
        state = str(getattr(link, "sqlstate", None) or "")
        if isinstance(link, OSError | TimeoutError) or state.startswith(("08", "57P", "53300")):
            return AWAY, f"the database cannot be reached: {_line(link)}"
    if any("Can't locate revision" in str(link) for link in chain):
        return FAILED, "the database was made by a newer Tutela; run that version or restore a backup"
    return FAILED, f"the migration failed and changed nothing: {_line(error)}"


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def main(arguments: list[str]) -> int:
    """The command. In: an optional DSN. Out: an exit code, and one line on stderr when it is not 0."""
    dsn = arguments[0] if arguments else os.environ.get("DATABASE_URL", "")
    if not dsn:
        print("tutela: migrate: no database given: pass a DSN or set DATABASE_URL", file=sys.stderr)
        return USAGE
    try:
        upgrade(dsn)
    except Exception as error:
        code, line = classify(error)
        print(f"tutela: migrate: {line}", file=sys.stderr)
        return code
    return DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
