"""``hydra``: the list of commands."""

from __future__ import annotations

import sys

import typer

import hydra_core
from hydra_core.cli import (
    data,
    exchanges,
    ledger,
    live,
    models,
    platform,
    portfolio,
    proof,
    research,
    safety,
    study,
    trading,
)
from hydra_core.cli.common import JsonFlag, log_to_stderr, out, reporting_errors, say_json

app = typer.Typer(
    name="hydra",
    help="HYDRA: data, models and paper trading for crypto perpetual futures, orchestrated by Dagster.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
portfolio.register(app)
platform.register(app)
trading.register(app)
proof.register(app)
live.register(app)
ledger.register(app)
data.register(app)
exchanges.register(app)
models.register(app)
research.register(app)
study.register(app)
safety.register(app)


@app.command()
def version(as_json: JsonFlag = False) -> None:
    """Show HYDRA's version."""
    if as_json:
        say_json({"version": hydra_core.__version__})
    else:
        out.print(f"hydra {hydra_core.__version__}")


def main() -> None:
    """Run the command line; errors that come outside a command's own block are reported in the same way."""
    log_to_stderr("WARNING")
    try:
        with reporting_errors():
            app()
    except typer.Exit as stop:
        sys.exit(stop.exit_code)


if __name__ == "__main__":
    main()
