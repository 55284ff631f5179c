"""Monitoring: watches searches in production and raises an alert when they change for the worse."""

from theodolite.monitoring.alert_rules import Alert
from theodolite.monitoring.monitor import Monitor

__all__ = ["Alert", "Monitor"]
