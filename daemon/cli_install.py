"""How does smolwatch become a service of this machine, and how is that undone?

Knows the command line; what changes is decided in `daemon.install_plan`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from daemon.install import InstallError, Machine, check_reachable, install, systemd_version
from daemon.install_plan import CONFIG, Wish, files_wanted, plan_install, plan_uninstall
from daemon.shipped import shipped

RootOption = Annotated[
    Path, typer.Option("--root", help="of the system to change: an image that is mounted there")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="only say what would be done")]


def install_service(
    root: RootOption = Path("/"),
    prefix: Annotated[
        Path | None,
        typer.Option(help="the environment that the service runs in; default: this one"),
    ] = None,
    *,
    gpu: Annotated[bool, typer.Option("--gpu", help="let the service use GPU and NPU")] = False,
    enable: Annotated[bool, typer.Option(help="start it when the machine starts")] = True,
    now: Annotated[bool, typer.Option("--now", help="start it now, too")] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Make smolwatch a systemd service of this machine; run it again after an update.

    What you have edited is never overwritten.
    """
    home = prefix or Path(sys.prefix)
    command = home / "bin" / "smolwatch"
    try:
        version = systemd_version()
        if prefix is None:
            check_reachable(command, Path(sys.base_prefix), Path(__file__))
        _need_root(root, dry_run=dry_run)
        wish = Wish(
            str(command), version, root, gpu=gpu, enable=enable, now=now, running=_is_running(root)
        )
        machine = Machine(root, typer.echo, dry_run=dry_run)
        wanted = files_wanted(wish, lambda name: shipped(name).read_text(encoding="utf-8"))
        steps = list(plan_install(wish, wanted, machine.read, machine.record()))
        install(machine, steps, wanted)
    except InstallError as error:
        _fail(error)
    if not dry_run:
        typer.echo(_NEXT.format(config=CONFIG, command=command))


def uninstall_service(
    root: RootOption = Path("/"),
    *,
    purge: Annotated[
        bool, typer.Option("--purge", help="delete configuration, credentials and data, too")
    ] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Undo `smolwatch install`. Configuration and data stay, but with --purge."""
    try:
        _need_root(root, dry_run=dry_run)
        machine = Machine(root, typer.echo, dry_run=dry_run)
        wish = Wish("", 0, root, running=_is_running(root))
        machine.take(list(plan_uninstall(wish, machine.read, machine.record(), purge=purge)))
    except InstallError as error:
        _fail(error)


_NEXT = """
Next: edit {config}; put each {{NAME}} in it into a file of that name in
/etc/smolwatch/credentials. Then
  sudo systemctl start smolwatch-model@500m    fetches the model that you chose
  sudo {command} check-config -c {config}
  sudo systemctl restart smolwatch
  systemctl status smolwatch; journalctl -u smolwatch -f"""


def _need_root(root: Path, *, dry_run: bool) -> None:
    if os.geteuid() == 0 or dry_run or root != Path("/"):
        return
    # sudo's search path knows no virtual environment.
    command = " ".join(["sudo", str(Path(sys.prefix) / "bin" / "smolwatch"), *sys.argv[1:]])
    raise InstallError(f"only root may do that. Type: {command}")


def _is_running(root: Path) -> bool:
    """Whether systemd runs this root, see sd_booted(3)."""
    return root == Path("/") and Path("/run/systemd/system").is_dir()


def _fail(error: InstallError) -> NoReturn:
    typer.echo(f"smolwatch: {error}", err=True)
    raise typer.Exit(1)
