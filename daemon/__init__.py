"""The process that lives: configuration, wiring, publishing, health."""

from importlib.metadata import PackageNotFoundError, version

try:
    # Made of the newest git tag when smolwatch was built or installed (pyproject.toml).
    __version__ = version("smolwatch")
except PackageNotFoundError:  # run from its sources
    __version__ = "0+unknown"
