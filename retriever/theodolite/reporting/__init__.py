"""Reports: an overview as a page, as Markdown, as JSON and as a table."""

from theodolite.reporting.report import Report

__all__ = ["Report"]
