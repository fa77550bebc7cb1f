"""The interfaces of other libraries, for moving over by one import."""
