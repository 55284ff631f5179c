"""Search: requests run against one snapshot."""
