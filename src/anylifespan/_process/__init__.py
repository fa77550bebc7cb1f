"""This process: its signals, and how it is stopped."""
