"""Tools that look at an application from outside: its frames, its leaks, a blocked event loop."""
