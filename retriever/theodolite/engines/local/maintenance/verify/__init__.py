"""Checks of everything that is stored."""
