"""How does a backtest become one page for the browser?

Knows the result and the template beside it. Pictures are within the page, and all text is escaped
(Jinja): it can be sent to somebody, and opens without a network.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from daemon import backtest_text as text
from daemon.backtest import Result, Tried
from pipelines.rules.replay import IncidentSpan

_NEAR_S = 0.05


def page(result: Result, plots: Sequence[bytes | None], *, by_day: bool = False) -> str:
    """The page; `plots`: a PNG for each reel, None where there is none."""
    template = files("daemon").joinpath("backtest_page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    rule = result.subject.rule
    return environment.from_string(template).render(
        result=result,
        rule=rule,
        settings=text.settings(rule),
        count=sum(len(one.incidents) for one in result.tried),
        seconds=text.clock(sum(one.reel.length_s for one in result.tried)),
        reels=[
            {
                "one": one,
                "length": text.clock(one.reel.length_s),
                "plot": _embedded(png, "png"),
                "incidents": [_row(one, span, by_day=by_day) for span in one.incidents],
            }
            for one, png in zip(result.tried, plots, strict=True)
        ],
        share=text.share,
    )


def _row(one: Tried, span: IncidentSpan, *, by_day: bool) -> dict[str, object]:
    near = [at_s for at_s in one.reel.thumbnails if abs(at_s - span.opened_s) <= _NEAR_S]
    jpeg = one.reel.thumbnails[near[0]] if near else None
    end_s = span.until_s(one.reel.length_s)
    return {
        "opens": text.at(one, span.opened_s, by_day=by_day),
        "closes": None if span.closed_s is None else text.at(one, end_s, by_day=by_day),
        "lasted": f"{end_s - span.opened_s:.1f}",
        "peak": text.share(span.peak),
        "text": span.text,
        "closed_by": span.closed_by,
        "thumbnail": _embedded(jpeg, "jpeg"),
    }


def _embedded(picture: bytes | None, kind: str) -> str | None:
    if picture is None:
        return None
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
