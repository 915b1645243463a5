"""What is promised about messages, in words for docs/mqtt.md?

Knows no code; tests/daemon/test_no_alert_lost.py and test_fault_schedules.py prove it.
"""

from __future__ import annotations

from typing import Final

GUARANTEES: Final = """\
## What is promised

**No alert is lost.** An event, its rule's state and their messages are written to the store in one
transaction, and are on the disk, before anything is sent. A message leaves the store when the
broker has acknowledged it with a reason below 0x80, and not before: a broker that is away, frozen,
full or restarted, and a daemon or machine that crashes, cost time and no alert. At least once:
after a lost link what was not acknowledged is sent again, so drop an `event_id` that you have seen.

| | alerts: `rule_*` events, rule states | states | `describe` events, health |
|---|---|---|---|
| order | kept; before all else | one a topic, the newest | kept; last |
| when 32 MB wait | stay | give way second | give way first |
| when too old | stay | 1 h, then told on the next connect | 1 h; health 1 min |
| message expiry (MQTT 5) | none | none | what is left of that |

At most 20 messages, or the broker's receive maximum, are on the way at once. On each connect every
retained topic is told again, also those of an earlier run, so that a broker without persistence
shows what is; retained topics of cameras and rules that are no longer configured are cleared.

**Refused messages** step aside and block nothing. `smolwatch mqtt dead-letters` lists them with the
broker's reason, `--retry` sends them once more, `--drop` deletes them; `bridge/health` and the
sensor *Refused messages* count them. Alerts and retained states come back by themselves, in their
old place: when the broker says that it is busy (0x91, 0x93, 0x97) after 5 s, doubling to 5 min;
when it denies the right or gives no reason after 1 min, doubling to 1 h, and with each new link.
Larger than the broker's maximum packet size: not sent, until a link allows it. A broker without
reason codes (MQTT 3.1.1) hangs up instead; what was on its way alone three times in a row when that
happened is set aside, and tried again after 10 min, doubling to 6 h. A malformed topic waits for
a person. Of more than 10,000 refused messages the oldest is given up, and counted. With MQTT 3.1.1
some brokers acknowledge what they throw away for want of a right: use MQTT 5, and
give the daemon the right to write `smolwatch/#`.

**Home Assistant** drops events while it starts, although the broker has delivered them. When it
says `online` on `homeassistant/status`, the newest 20 alerts since it said `offline` (if that was
not seen: of the last 5 minutes) are sent once more, oldest first, with the same `event_id` and
`"replay": true`.

**Full disk**: pictures stop first, while 64 MiB are left; then what was seen and described. 16 MiB
are kept aside, and given to alerts alone. When they are used up, or the disk fails, alerts wait in
memory (64 MB) and are still sent; `problem` says so, as a crash would lose them then, and they move
to the disk when it takes them again. With `store: off` all wait in memory, and the daemon says so
at its start. A damaged store is set aside, and what waits is carried over as far as it can be read.
"""
