"""The version, in one place: the package's metadata."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("linfa")
except PackageNotFoundError:  # the source tree is on the path, but nothing is installed
    __version__ = "0.1.0+source"
