"""The process that lives: configuration, wiring, publishing, health."""

__version__ = "0.1.0"
