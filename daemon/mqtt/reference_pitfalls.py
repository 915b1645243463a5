"""What should be known of Home Assistant's MQTT by whoever changes the discovery messages?

Knows no code: words for docs/mqtt.md. Each is held by a test in tests/daemon/test_discovery.py.
"""

from __future__ import annotations

from typing import Final

HOME_ASSISTANT: Final = """\
## Home Assistant's pitfalls

- A key that is unknown at the top or in `device`, also `~`, makes it refuse the whole message.
  `origin` and every `unique_id` are required. A test holds each key against a list with its page.
- `default_entity_id` stands for what `object_id` was. `entity_category:
  config` is for what can be changed: on a sensor it is refused.
- A state of more than 255 characters becomes unknown, so descriptions and prompts are cut in their
  templates; a text entity takes no more either.
- An event entity ignores retained messages, and drops an `event_type` that is not in its list.
- A component disappears by a message with nothing but its platform in it, a device by an empty
  retained message. What an earlier run announced is read from the broker, so that switches go when
  `commands` is turned off.
- A button has no state topic: whose it is, is told by its command topic.
- Names in templates stand in brackets (`rules['2_cars']`): after a dot Jinja takes no digit.
- Its birth message comes before it has subscribed to everything: discovery and states are repeated
  three seconds later, and alerts that it may have missed with `replay: true`.
"""
