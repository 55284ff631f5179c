"""From an engine's answers to ranked hits."""
