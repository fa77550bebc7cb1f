"""The interfaces of other libraries, so that users can migrate by changing one import."""
