"""How does everything the daemon does look on one screen?

Knows the answer of `daemon.overview` and a width and height; no socket and no clock. Cameras in
trouble come first, and on a narrow screen the columns that matter least go.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from daemon.telling import long

Json = Mapping[str, Any]

_BLIND_PCT: Final = (20.0, 50.0)  # from here on yellow, and red
_LATE_S: Final = 60.0  # a message that waits so long is worth a colour
_STATES: Final = {"online": "green", "offline": "bold red", "disabled": "dim", "ended": "dim"}
_ALWAYS: Final = 1  # columns of this rank are shown however narrow it is
_TROUBLES: Final = 4  # lines of them that are shown
_BETWEEN: Final = 4  # lines: two empty ones, the columns' names, and how many more there are


@dataclass(frozen=True, slots=True)
class Screen:
    """How much fits."""

    width: int
    height: int | None = None  # None: as long as it takes


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    cell: Callable[[Json, Json | None], Text]
    rank: int  # of what is left out where room is short: the greatest first
    right: bool = True


def view(now: Json, before: Json | None, screen: Screen) -> RenderableType:
    """All of it. `before` is an earlier answer of the same daemon, for what happens a minute."""
    cameras = sorted(now["cameras"], key=trouble, reverse=True)
    head, troubles = _head(now, before), Group(*_troubles(now, cameras)[:_TROUBLES])
    room = len(cameras)
    if screen.height is not None:
        around = _lines(head, screen.width) + _lines(troubles, screen.width) + _BETWEEN
        room = max(1, screen.height - around)
    shown, left = cameras[:room], len(cameras) - room
    table = _table(shown, now, before, screen)
    more = [Text(f"and {left} more", style="dim")] if left > 0 else []
    return Group(head, Text(), table, *more, Text(), troubles)


def _lines(shown: RenderableType, width: int) -> int:
    """How many it takes."""
    console = Console(width=width, file=io.StringIO())
    return len(console.render_lines(shown, pad=False))


def waiting_view(reason: str, last: RenderableType | None) -> RenderableType:
    """What is shown while nobody answers."""
    told = Text(f"waiting: {reason}", style="bold yellow")
    return told if last is None else Group(told, Text("as it was last:", style="dim"), last)


def trouble(camera: Json) -> tuple[float, ...]:
    """The more, the further up: away, blind, failing, slow."""
    ranks = {"offline": 2.0, "connecting": 1.0, "disabled": -1.0}
    windows = camera["windows"]
    return (
        ranks.get(camera["state"], 0.0),
        round(camera["blind_recent_pct"] or 0.0, -1),  # so that rows do not dance
        float(windows["failed"] > 0),
        float(any(rule["on_s"] is not None for rule in camera["rules"])),
    )


def _head(now: Json, before: Json | None) -> Text:
    at = datetime.fromisoformat(now["ts"]).astimezone()
    up, model = long(now["uptime_s"]), now["model"]
    head = Text(f"smolwatch {now['version']}", style="bold")
    head.append(f"  {at:%H:%M:%S}, up {up}", style="not bold")
    head.append("\nmodel    ", style="dim not bold")
    ready = model["state"] == "ready"
    head.append(f"{model['id']} {model['state']}", style="not bold" if ready else "bold red")
    busy_s_a_minute = _rate(now, before, lambda told: told["model"]["busy_s"])
    if ready and busy_s_a_minute is not None:
        head.append(f", {min(100.0, busy_s_a_minute / 0.6):.0f} % busy", style="not bold")
    asked = now["requests"]
    if asked["waiting"]:
        head.append(f", {asked['waiting']} questions wait", style="not bold")
    head.append("\nbroker   ", style="dim not bold")
    head.append_text(_broker(now["broker"]))
    head.append("\nmachine  ", style="dim not bold")
    head.append_text(_machine(now))
    head.append("\nevents   ", style="dim not bold")
    head.append(f"{now['events']} since the start", style="not bold")
    per_minute = _rate(now, before, lambda told: told["events"])
    if per_minute:
        head.append(f", {per_minute:.1f} a minute", style="not bold")
    return head


def _broker(link: Json | None) -> Text:
    if link is None:
        return Text("none is configured", style="dim")
    said = Text("connected" if link["connected"] else "away", style=_good(ok=link["connected"]))
    late = link["oldest_s"] >= _LATE_S
    said.append(f", {link['pending']} wait", style="bold yellow" if late else "not bold default")
    if link["pending"]:
        said.append(f" (oldest {long(link['oldest_s'])})", style="not bold default")
    said.append(f", {link['published']} sent", style="not bold default")
    for key, words in (("dead_letters", "dead letters"), ("refused", "refused")):
        if link[key]:
            said.append(f", {link[key]} {words}", style="bold yellow")
    if link["publish_ms_p50"] is not None:
        said.append(f", {link['publish_ms_p50']:.0f} ms each", style="not bold default")
    return said


def _machine(now: Json) -> Text:
    said = Text(f"memory {size(now['memory_bytes'])}, {now['threads']} threads")
    store = now["store"]
    if store is not None:
        said.append(f", store {size(store['bytes'])}")
        if store["lost"]:
            said.append(f" ({store['lost']} writes lost)", style="bold red")
    disks = now["disks"]
    is_one = len({disk["size_bytes"] for disk in disks.values()}) == 1
    for name, disk in [*disks.items()][: 1 if is_one else None]:
        full = disk["free_bytes"] < 0.05 * disk["size_bytes"]
        which = "disk" if is_one else f"{name} disk"
        said.append(f", {which} {size(disk['free_bytes'])} free", style="bold red" if full else "")
    media = now["media"]
    if media is not None:
        made = media.get("clips", 0), media.get("snapshots", 0)
        said.append(f", {made[0]} clips, {made[1]} snapshots")
        if media.get("failed"):
            said.append(f" ({media['failed']} failed)", style="bold yellow")
    return said


def _table(cameras: Sequence[Json], now: Json, before: Json | None, screen: Screen) -> Table:
    earlier = {told["camera"]: told for told in before["cameras"]} if before is not None else {}
    cells = {
        column: [column.cell(camera, earlier.get(camera["camera"])) for camera in cameras]
        for column in _columns(now, before)
    }
    cells = {column: cells[column] for column in _fitting(cells, screen.width)}
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for column in cells:
        side: Literal["left", "right"] = "right" if column.right else "left"
        table.add_column(column.name, justify=side, no_wrap=True, overflow="ellipsis")
    for row in zip(*cells.values(), strict=True):
        table.add_row(*row)
    return table


def _fitting(cells: Mapping[_Column, Sequence[Text]], width: int) -> list[_Column]:
    """The columns that are shown, in their order."""
    needs = {
        column: 1 + max(len(column.name), *(cell.cell_len for cell in told), 0)
        for column, told in cells.items()
    }
    shown: set[_Column] = set()
    for column in sorted(cells, key=lambda column: column.rank):
        room = width - sum(needs[other] for other in shown)
        if room < needs[column] and column.rank > _ALWAYS:
            break
        shown.add(column)
    return [column for column in cells if column in shown]


def _columns(now: Json, before: Json | None) -> tuple[_Column, ...]:
    def looks(camera: Json, earlier: Json | None) -> Text:
        told = None if earlier is None else {**(before or {}), "camera": earlier}
        rate = _rate({**now, "camera": camera}, told, lambda one: one["camera"]["windows"]["run"])
        return Text("-" if rate is None else f"{rate:.0f}")

    columns = (
        _Column("camera", lambda c, _: Text(c["camera"]), 0, right=False),
        _Column("state", lambda c, _: _state(c), 1, right=False),
        _Column("blind", lambda c, _: _blind(c), 2),
        _Column("latency", lambda c, _: _ms(c["latency_ms_p50"]), 3),
        _Column("worst", lambda c, _: _ms(c["latency_ms_max"]), 8),
        _Column("looks/min", looks, 5),
        _Column("busy", lambda c, _: _count(c["windows"]["busy"]), 10),
        _Column("failed", lambda c, _: _count(c["windows"]["failed"], "bold red"), 11),
        _Column("fps", lambda c, _: Text(f"{c['fps_in']:.0f}"), 6),
        _Column("age", lambda c, _: _seconds(c["frame_age_s"]), 7),
        _Column("lost", lambda c, _: _count(sum(c["reconnects"].values()), "yellow"), 9),
        _Column("rules", lambda c, _: _rules(c["rules"]), 4, right=False),
    )
    return tuple(column for column in columns if before is not None or column.cell is not looks)


def _troubles(now: Json, cameras: Sequence[Json]) -> list[Text]:
    """What is wrong, in words."""
    told = [Text(now["problem"], style="bold red")] if now["problem"] else []
    for camera in cameras:
        if camera["problem"]:
            line = Text(f"{camera['camera']}: ", style="bold")
            told.append(line.append(camera["problem"], style="not bold red"))
    return told


def _rules(rules: Sequence[Json]) -> Text:
    """Those that are on, with how long; those that are switched off."""
    said = Text()
    for rule in sorted(rules, key=lambda rule: rule["on_s"] is None):
        if rule["on_s"] is not None:
            said.append(f"{rule['rule']} {long(rule['on_s'])}  ", style="bold orange1")
        elif not rule["armed"]:
            said.append(f"{rule['rule']} off  ", style="dim")
    quiet = sum(rule["on_s"] is None and rule["armed"] for rule in rules)
    return said.append(f"{quiet} quiet", style="dim") if quiet else said


def _rate(now: Json, before: Json | None, count: Callable[[Json], float]) -> float | None:
    """How many a minute; None where it cannot be known, as over a restart."""
    if before is None:
        return None
    passed_s = now["uptime_s"] - before["uptime_s"]
    happened = count(now) - count(before)
    return None if passed_s <= 0 or happened < 0 else 60.0 * happened / passed_s


def _state(camera: Json) -> Text:
    return Text(camera["state"], style=_STATES.get(camera["state"], ""))


def _blind(camera: Json) -> Text:
    if camera["state"] == "disabled":
        return Text("-", style="dim")
    share = camera["blind_recent_pct"]
    style = "bold red" if share >= _BLIND_PCT[1] else "yellow" if share >= _BLIND_PCT[0] else ""
    return Text(f"{share:.0f} %", style=style)


def _ms(value: float | None) -> Text:
    if value is None:
        return Text("-", style="dim")
    return Text(f"{value:.0f} ms" if value < 10_000 else f"{value / 1000:.0f} s")


def _seconds(value: float | None) -> Text:
    if value is None:
        return Text("-", style="dim")
    return Text(f"{value:.1f} s" if value < 10 else long(value))


def _count(value: int, style: str = "") -> Text:
    return Text(str(value), style=style) if value else Text("0", style="dim")


def _good(*, ok: bool) -> str:
    return "green" if ok else "bold red"


def size(num_bytes: float) -> str:
    """`560 MB`, `1.2 GB`: decimal, as disks are sold."""
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} GB" if num_bytes < 1000 else f"{num_bytes / 1000:.1f} TB"
