"""The flat index: exact search over codes of 4 or 8 bits with error bounds, rescored in float64."""
