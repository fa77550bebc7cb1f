"""End open requests when the server stops: notify them first, and cut them off later."""
