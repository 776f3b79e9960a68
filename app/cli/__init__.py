"""The command line. Every command imports what it needs when it runs, so `status` stays quick and small."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="tutela",
    help="Tutela: a self-hosted control plane for containers that speaks the Tutum API.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals hold keys
    pretty_exceptions_enable=False,
)
MAKERS = "For whoever works on Tutela"
"""The commands that need its sources, apart in `--help` from those that operate it."""
PASS_ON: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


class CommandError(RuntimeError):
    """A command cannot be done; the text is one sentence for the user, `code` the exit code."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


def _show_version(wanted: bool) -> None:
    if wanted:
        from app import __version__

        typer.echo(f"tutela {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options before the command."""


@app.command("up")
def _up(
    sample: Annotated[bool, typer.Option("--sample", help="Also start two linked services.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Install Docker without asking.")] = False,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay in front, for a supervisor; log to stderr.")
    ] = False,
) -> None:
    """Start the platform on this machine. What runs already is left as it is."""
    from app.cli import up as command

    command.run(sample=sample, yes=yes, foreground=foreground)


@app.command("down")
def _down() -> None:
    """Stop the control plane. Containers keep running."""
    from app.cli import down as command

    command.run()


@app.command("status")
def _status() -> None:
    """Say what runs. Exit code 0 when the control plane runs, 3 when not."""
    from app.cli import status as command

    raise typer.Exit(command.run())


@app.command("password")
def _password(
    user: Annotated[str | None, typer.Argument(help="Whose; the admin's when it is left out.")] = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read it from stdin instead of asking.")] = False,
) -> None:
    """Set the password of a user, for `tutum login`."""
    from app.cli import password as command

    command.run(user, stdin=stdin)


@app.command("backup")
def _backup(
    file: Annotated[Path, typer.Argument(help="Where to write it.", dir_okay=False)],
    secrets: Annotated[bool, typer.Option(help="With the installation's secret and the admin's key.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
) -> None:
    """Write the whole record into one file; the platform may run meanwhile."""
    from app.cli import backup as command

    command.save(file, secrets=secrets, force=force)


@app.command("restore")
def _restore(
    file: Annotated[Path, typer.Argument(help="A file that backup wrote.", exists=True, dir_okay=False)],
    force: Annotated[bool, typer.Option("--force", help="Replace what is in the database now.")] = False,
) -> None:
    """Put the record back from a backup, while the platform is down. Containers are left as they are."""
    from app.cli import backup as command

    command.put_back(file, force=force)


@app.command("rebuild")
def _rebuild(
    force: Annotated[bool, typer.Option("--force", help="Give up what is in the database now.")] = False,
) -> None:
    """With the database lost and no backup: make the record anew from what hosts keep. Containers run on."""
    from app.cli import rebuild as command

    command.run(force=force)


@app.command("export")
def _export() -> None:
    """Print your services and their containers as JSON, in an order that does not change: to compare, or to keep."""
    from app.cli import export as command

    command.run()


@app.command("sbom")
def _sbom() -> None:
    """Print what this installation is made of (CycloneDX), for whoever looks for known vulnerabilities."""
    from app.cli import sbom as command

    command.run()


@app.command("test", context_settings=PASS_ON, rich_help_panel=MAKERS)
def _test(context: typer.Context) -> None:
    """Run the tests, the simulator's seeds first; with arguments those that they name to pytest."""
    from app.cli import dev

    raise typer.Exit(dev.test(context.args))


@app.command("check", rich_help_panel=MAKERS)
def _check() -> None:
    """Run every static check: format, lint, types, import walls."""
    from app.cli import dev

    raise typer.Exit(dev.check())


@app.command("bench", context_settings=PASS_ON, rich_help_panel=MAKERS)
def _bench(context: typer.Context) -> None:
    """Measure beside the raw engine and Docker Swarm; `bench hosts`, `bench scale`, ... runs bench.NAME."""
    from app.cli import dev

    dev.bench(context.args)


@app.command("chaos", context_settings=PASS_ON, rich_help_panel=MAKERS)
def _chaos(context: typer.Context) -> None:
    """Faults on real engines, users and watchers beside them: `--minutes M --seed N --fault NAME`."""
    from app.cli import dev

    dev.chaos(context.args)


@app.command("histories", context_settings=PASS_ON, rich_help_panel=MAKERS)
def _histories(context: typer.Context) -> None:
    """Record every call while Postgres and the API are killed: `--operations N --kills K --seed S`."""
    from app.cli import dev

    dev.histories(context.args)


@app.command("coverage", rich_help_panel=MAKERS)
def _coverage() -> None:
    """Run the cases of the pure planners; fails when a branch of them is in none."""
    from app.cli import planners

    planners.coverage()


@app.command("properties", rich_help_panel=MAKERS)
def _properties(
    examples: Annotated[int, typer.Argument(help="How many, for each property.")] = 2000,
) -> None:
    """Try the properties of the pure planners with many examples."""
    from app.cli import planners

    planners.properties(examples)


@app.command("mutate", rich_help_panel=MAKERS)
def _mutate(
    names: Annotated[
        list[str] | None, typer.Argument(help="Of these only: `agents.memory.*`, `domain.orders.x_settled*`.")
    ] = None,
    processes: Annotated[int, typer.Option("--processes", help="How many at a time.")] = 1,
) -> None:
    """Break the pure planners in thousands of ways and count what no test notices; two hours for all of them."""
    from app.cli import planners

    planners.mutate(names or [], processes)


@app.command("simulate", context_settings=PASS_ON, rich_help_panel=MAKERS)
def _simulate(context: typer.Context) -> None:
    """The platform on virtual time with faults by seed: `--seed N --runs N --jobs N`, `--history`, `--planted`."""
    from app.cli import dev

    dev.simulate(context.args)


def _groups() -> None:
    """Commands with commands of their own; imported when one of them is asked for."""
    if len(sys.argv) > 1 and sys.argv[1] == "agent":
        from app.cli import agent

        app.add_typer(agent.app, name="agent")
    else:
        app.add_typer(typer.Typer(help="Have this host join, run its agent, leave."), name="agent")
    if len(sys.argv) > 1 and sys.argv[1] == "node":
        from app.cli import node as command

        app.add_typer(command.app, name="node")
    else:
        app.add_typer(typer.Typer(help="The hosts: list, cordon, drain, release, rename, tag, remove."), name="node")
    if len(sys.argv) > 1 and sys.argv[1] == "admin":
        from app.cli import admin

        app.add_typer(admin.app, name="admin")
    else:
        app.add_typer(typer.Typer(help="Users, keys, health, the queue, pauses, the audit log."), name="admin")


def main() -> int:
    """Run the command line; the exit code. Expected failures are one line on stderr."""
    _groups()
    try:
        app(prog_name="tutela")
    except CommandError as error:
        print(f"tutela: {error}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        return 130
    return 0
