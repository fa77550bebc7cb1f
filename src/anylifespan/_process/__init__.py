"""The server in this process, its signals, and how to stop it."""
