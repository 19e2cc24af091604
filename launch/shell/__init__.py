"""The terminal: help, completion, meanings of settings."""
