"""Monitoring: measures searches in production and raises an alert when their quality drops."""

from theodolite.monitoring.alert_rules import Alert
from theodolite.monitoring.monitor import Monitor

__all__ = ["Alert", "Monitor"]
