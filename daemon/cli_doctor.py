"""`smolwatch doctor`: which arguments has it?

Knows arguments, exit codes and the terminal; the checks are `daemon.doctor`'s.
"""

from __future__ import annotations

# ruff: noqa: PLC0415 - PyTorch and paho take seconds to import
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from daemon.config import Config, ConfigError, load_config
from daemon.findings import Finding, finding_json, finding_line
from daemon.redact import Redactor

INSTALLED = Path("/etc/smolwatch/smolwatch.yaml")
CREDENTIALS = Path("/etc/smolwatch/credentials")


def doctor(
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", help=f"the configuration; left out: {INSTALLED}, if there"),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
) -> None:
    """Look at machine, service, broker, cameras and model; say what is wrong and how to mend it.

    Run it as the user that smolwatch runs as, where there is one: `sudo -u smolwatch smolwatch
    doctor`. Nothing is changed, and nothing is downloaded. Exit code 1 if something fails.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if "CREDENTIALS_DIRECTORY" not in os.environ and os.access(CREDENTIALS, os.R_OK | os.X_OK):
        os.environ["CREDENTIALS_DIRECTORY"] = str(CREDENTIALS)  # as systemd would
    from daemon import logs

    loaded, found = _configuration(config)
    secrets = loaded.secret_values if loaded is not None else ()
    logs.setup(level="critical", secrets=secrets)
    redactor, failed = Redactor(secrets), False
    for one in _all(loaded, found):
        line = finding_json(one) if as_json else finding_line(one)
        # What is wrong in the configuration is told without values, and with an example address.
        typer.echo(line if one.what == "config" else redactor.text(line))
        sys.stdout.flush()
        failed = failed or one.level == "fail"
    os._exit(1 if failed else 0)  # a camera that hangs would keep its thread, and so the process


def _all(loaded: Config | None, found: list[Finding]) -> Iterator[Finding]:
    from daemon.doctor import examine
    from pipelines.clock import SystemClock

    yield from found
    yield from examine(loaded, os.environ, SystemClock(), socket.gethostname())


def _configuration(path: Path | None) -> tuple[Config | None, list[Finding]]:
    """Read it if there is one; what is wrong with it."""
    chosen = path or (INSTALLED if os.access(INSTALLED, os.R_OK) else None)
    if chosen is None:
        where = f"{INSTALLED} cannot be read by this user" if INSTALLED.exists() else "none given"
        fix = "name one with -c, and cameras, broker and model are looked at, too"
        return None, [Finding("warn", "config", where, fix)]
    try:
        loaded = load_config(chosen, os.environ)
    except ConfigError as error:
        fix = "correct it; smolwatch check-config -c FILE looks again"
        return None, [Finding("fail", "config", line, fix) for line in str(error).splitlines()]
    text = f"{chosen}: {len(loaded.cameras)} cameras, {len(loaded.rules)} rules"
    return loaded, [Finding("ok", "config", text)]
