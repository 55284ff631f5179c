"""The audit: vectors are measured (`scan`, `geometry`), and what was measured is judged (`*_findings`)."""
