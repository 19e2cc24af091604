"""The sections of a declaration."""
