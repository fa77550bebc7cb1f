"""How requests end when the server stops: they are notified first, and cut later."""
