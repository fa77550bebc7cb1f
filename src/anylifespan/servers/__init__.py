"""This library's lifespan support for other servers, through interfaces that they already call.

There is one module for each server. A module requires its server to be installed, and no other part
of this package imports the module.
"""
