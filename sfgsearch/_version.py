"""The package version, read by the build and stored with every record."""

__version__ = "0.1.0"
