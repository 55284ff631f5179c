"""Maintenance: verify, repair, back up, compact, and build indexes."""
