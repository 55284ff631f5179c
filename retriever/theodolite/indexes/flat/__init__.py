"""The flat index: exact search over int8 codes with error bounds, rescored in float64."""
