"""The signals of this process, and how the process is stopped."""
