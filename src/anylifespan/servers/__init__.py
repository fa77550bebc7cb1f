"""The lifespan of servers, by the interfaces that they already call: one module a server.

Each needs its server installed, and none is imported by any other part of this package.
"""
