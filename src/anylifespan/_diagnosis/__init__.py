"""Tools that examine an application from outside: leaks, slow phases and a blocked event loop."""
