"""Serving studies to browsers."""

from sfgsearch.serving._dashboard import DashboardServer, is_loopback

__all__ = ["DashboardServer", "is_loopback"]
