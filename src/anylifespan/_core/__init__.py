"""The manager and what it is made of: everything else stands on it."""
