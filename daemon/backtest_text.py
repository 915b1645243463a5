"""How is a backtest's result told in lines, and as JSON?

Knows the result and no terminal. The words are those of the configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from daemon.backtest import Result, Tried
from daemon.backtest_score import Score, Trial
from pipelines.rules import Rule
from pipelines.rules.replay import IncidentSpan

Json = dict[str, Any]


def settings(rule: Rule) -> str:
    """The rule's own numbers, as its configuration says them."""
    parts = [f"open_above: {rule.open_above:g}", f"close_below: {rule.close_below:g}"]
    needed = rule.debounce
    parts.append(f"debounce: {{needed: {needed.needed}, of: {needed.of}}}")
    parts.append(f"cooldown_s: {rule.cooldown_s:g}")
    if rule.for_s:
        parts.append(f"for_s: {rule.for_s:g}")
    if rule.active is not None:
        parts.append(str(rule.active))
    return ", ".join(parts)


def clock(at_s: float) -> str:
    """`M:SS.s` or `H:MM:SS.s` of a recording."""
    tenths = round(at_s * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest / 10:04.1f}"
    return f"{hours}:{minutes:02d}:{seconds}" if hours else f"{minutes}:{seconds}"


def at(one: Tried, at_s: float, *, by_day: bool) -> str:
    """A moment as people look for it: in the recording, or by date and time."""
    if not by_day:
        return clock(at_s)
    return f"{datetime.fromtimestamp(one.reel.begun + at_s).astimezone():%Y-%m-%d %H:%M:%S}"


def lines(result: Result, *, by_day: bool = False) -> Iterator[str]:
    """The whole result."""
    subject = result.subject
    yield f"rule {subject.rule.name} on {subject.camera}: {settings(subject.rule)}"
    along = [rule.name for rule in subject.rules if rule.name != subject.rule.name]
    if along:
        yield f"judged along with it, as it refers to them: {', '.join(along)}"
    for one in result.tried:
        yield from _reel_lines(one, by_day=by_day)
    for name, reason in result.failures.items():
        yield f"{name}: not tried: {reason}"
    count = sum(len(one.incidents) for one in result.tried)
    seconds = sum(one.reel.length_s for one in result.tried)
    recordings = counted(len(result.tried), "recording")
    yield f"{counted(count, 'incident')} in {clock(seconds)} of {recordings}"
    if result.score is not None:
        yield from _score_lines(result, result.score)


def _reel_lines(one: Tried, *, by_day: bool) -> Iterator[str]:
    reel = one.reel
    run = counted(reel.windows_run, "window")
    if reel.windows_gated:
        run += f", {reel.windows_gated} not run (gate: motion)"
    if reel.windows_failed:
        run += f", {reel.windows_failed} failed"
    yield f"{reel.name}: {clock(reel.length_s)} long, {run}"
    if not reel.windows_run:
        yield "  no window was run: is it shorter than num_frames * interval_s?"
    elif not one.incidents and one.scores:
        best_s, best = max(one.scores, key=lambda pair: pair[1])
        moment = at(one, best_s, by_day=by_day)
        yield f"  no incident; the highest p_yes was {best:.2f}, at {moment}"
    for span in one.incidents:
        yield "  " + incident_line(one, span, by_day=by_day)


def incident_line(one: Tried, span: IncidentSpan, *, by_day: bool) -> str:
    """One incident in one line."""
    until = at(one, span.until_s(one.reel.length_s), by_day=by_day)
    lasted = span.until_s(one.reel.length_s) - span.opened_s
    ends = "still open at the end" if span.closed_s is None else f"closes {until}"
    peak = "" if span.peak is None else f", peak p_yes {span.peak:.2f}"
    why = f" ({span.closed_by})" if span.closed_by else ""
    words = f"  {span.text}" if span.text else ""
    opens = at(one, span.opened_s, by_day=by_day)
    return f"incident opens {opens}, {ends}{why}, {lasted:.1f} s{peak}{words}"


def _score_lines(result: Result, found: Score) -> Iterator[str]:
    rule = result.subject.rule
    yield (
        f"{counted(found.expected, 'true event')}: {found.found} found, "
        f"{found.expected - found.found} missed; {found.false} false, "
        f"{found.duplicates} duplicate" + (f", {found.ignored} at a maybe" if found.ignored else "")
    )
    if found.median_late_s is not None:
        yield f"alerts came {found.median_late_s:.1f} s after the event began (median)"
    if result.trials:
        yield f"{'open_above':>10} {'close_below':>11} {'precision':>9} {'recall':>6}"
    for trial in result.trials:
        mine = (trial.open_above, trial.close_below) == (rule.open_above, rule.close_below)
        yield trial_line(trial) + ("  <- configured" if mine else "")
    if result.proposal is not None:
        best = result.proposal
        yield f"proposed: open_above: {best.open_above:g}, close_below: {best.close_below:g}"
        yield f"  {best.reason}."
    for warning in result.warnings:
        yield f"warning: {warning}"


def trial_line(trial: Trial) -> str:
    """One row of the table of thresholds."""
    return (
        f"{trial.open_above:>10g} {trial.close_below:>11g} "
        f"{share(trial.score.precision):>9} {share(trial.score.recall):>6}"
    )


def share(value: float | None) -> str:
    """A precision or recall; a dash where it is not known."""
    return "-" if value is None else f"{value:.2f}"


def as_json(result: Result) -> Json:
    """The result for programs. Times are seconds of the recording, `begun` is Unix time."""
    rule = result.subject.rule
    told: Json = {
        "rule": rule.name,
        "camera": result.subject.camera,
        "model": result.model_id,
        "open_above": rule.open_above,
        "close_below": rule.close_below,
        "recordings": [_reel_json(one) for one in result.tried],
        "failures": dict(result.failures),
        "warnings": list(result.warnings),
    }
    if result.score is not None:
        told["score"] = _score_json(result.score)
        told["thresholds"] = [
            {"open_above": t.open_above, "close_below": t.close_below, **_score_json(t.score)}
            for t in result.trials
        ]
    if result.proposal is not None:
        told["proposed"] = {
            "open_above": result.proposal.open_above,
            "close_below": result.proposal.close_below,
            "reason": result.proposal.reason,
        }
    return told


def _reel_json(one: Tried) -> Json:
    reel = one.reel
    return {
        "name": reel.name,
        "length_s": round(reel.length_s, 2),
        "begun": reel.begun,
        "windows_run": reel.windows_run,
        "windows_gated": reel.windows_gated,
        "windows_failed": reel.windows_failed,
        "incidents": [
            {
                "opened_s": round(span.opened_s, 2),
                "closed_s": None if span.closed_s is None else round(span.closed_s, 2),
                "duration_s": round(span.until_s(reel.length_s) - span.opened_s, 2),
                "peak": span.peak if span.peak is None else round(span.peak, 4),
                "text": span.text,
            }
            for span in one.incidents
        ],
        "p_yes": [[round(at_s, 2), round(value, 4)] for at_s, value in one.scores],
        "answers": {
            question: [[round(at_s, 2), round(value, 4)] for at_s, value in values]
            for question, values in one.answers.items()
        },
    }


def _score_json(found: Score) -> Json:
    return {
        "expected": found.expected,
        "found": found.found,
        "false": found.false,
        "duplicates": found.duplicates,
        "ignored": found.ignored,
        "precision": found.precision,
        "recall": found.recall,
    }


def counted(count: int, what: str) -> str:
    """A number and its noun."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
