"""The command line: each command parses its options, calls `research`, and prints the result."""
