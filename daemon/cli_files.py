"""Which files come with smolwatch, and where are they?

Does not know what is in them.
"""

from __future__ import annotations

from typing import Annotated

import typer

from daemon.shipped import NotShipped, all_shipped, shipped


def files(
    name: Annotated[
        str | None, typer.Argument(help="print where this one is, such as configs/mosquitto/acl")
    ] = None,
) -> None:
    """List the example configurations, units and documents that come with smolwatch."""
    if name is None:
        for each in all_shipped():
            typer.echo(each)
        return
    try:
        typer.echo(shipped(name))
    except NotShipped as error:
        typer.echo(f"smolwatch: {error}", err=True)
        raise typer.Exit(2) from None
