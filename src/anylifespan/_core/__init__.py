"""The manager and its parts, on which the rest of the library is built."""
