"""What does Home Assistant itself say to discovery messages?

Knows nothing of smolwatch: run by an interpreter that has Home Assistant (`homeassistant.components
.mqtt`), not by the tests'. Reads `{"topic": payload, ...}` from standard input and prints
`{"version": "2026.11.0", "components": 12, "complaints": ["...", ...]}`.

Home Assistant's own functions are called, in the order in which its `mqtt/discovery.py` (2026.2.3,
2026.11.0) calls them for a device: the message's schema, the options that components inherit, and
each platform's schema. That one drops keys that it does not know without a word; here it is one.
"""

import asyncio
import importlib
import inspect
import json
import logging
import sys
import tempfile

from homeassistant.components.mqtt import discovery
from homeassistant.const import __version__
from homeassistant.core import HomeAssistant


class Heard(logging.Handler):
    """Collects what is logged: a message that is refused is logged, and no more."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.said = []

    def emit(self, record):
        self.said.append(record.getMessage())


def judge(topic, payload):
    """How many components it has, and what is wrong with them."""
    name = topic.split("/")[-2]
    heard = Heard()
    logging.getLogger(discovery.__name__).addHandler(heard)
    device = parsed(payload=json.dumps(payload), topic=topic, object_id=name)
    logging.getLogger(discovery.__name__).removeHandler(heard)
    complaints = [f"{topic}: {words}" for words in heard.said]
    for key, component in device.get("components", {}).items():
        complaints += [f"{topic} {key}: {words}" for words in judge_component(component, device)]
    return len(device.get("components", {})), complaints


def parsed(**arguments):
    """The message as Home Assistant reads it, empty if it is refused."""
    read = discovery._parse_device_payload  # 2026.2 does not ask for the topic
    names = inspect.signature(read).parameters
    return read(**{name: arguments.get(name) for name in names})


def judge_component(component, device):
    """What is wrong with one."""
    config = discovery.MQTTDiscoveryPayload(component)
    platform = importlib.import_module(f"homeassistant.components.mqtt.{config.pop('platform')}")
    if not config:
        return []  # removed
    config["device"], config["origin"] = device["device"], device["origin"]
    discovery._merge_common_device_options(config, device)
    try:
        taken = platform.DISCOVERY_SCHEMA(config)
    except Exception as error:  # noqa: BLE001 - its validators raise more than their own
        return [f"{type(error).__name__}: {error}"]
    return [f"key {key!r} is not known" for key in config if key not in taken]


async def main():
    hass = HomeAssistant(tempfile.gettempdir())  # templates ask for one; nothing is written there
    judged = [judge(topic, payload) for topic, payload in json.load(sys.stdin).items()]
    verdict = {
        "version": __version__,
        "components": sum(count for count, _ in judged),
        "complaints": [words for _, complaints in judged for words in complaints],
    }
    sys.stdout.write(json.dumps(verdict))
    await hass.async_stop(force=True)


if __name__ == "__main__":
    asyncio.run(main())
