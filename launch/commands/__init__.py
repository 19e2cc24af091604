"""The commands: what is typed, in groups. What a command needs is imported when it runs."""
