"""The command line: parses, calls, exits."""
