"""This library's lifespan for several servers, through interfaces that the servers already call.

There is one module for each server. A module needs its server installed, and no other part of this
package imports the module.
"""
