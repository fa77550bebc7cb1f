"""How requests end when the server stops: first they can know of it, then they are cut."""
