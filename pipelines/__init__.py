"""What a frame goes through, from a camera to an event.

Knows nothing of YAML, MQTT or systemd, and never imports `daemon`.
"""
