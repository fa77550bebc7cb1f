"""A Starlette application with an MCP server mounted, which serves only while its lifespan runs::

    anylifespan check --factory examples.with_mcp:new_app

By a factory, since what drives the sessions of an MCP server can be run once only.
"""

from __future__ import annotations

from mcp.server import MCPServer
from starlette.applications import Starlette
from starlette.routing import Mount

from anylifespan import lifespan_of

mcp = MCPServer("Bookshop")


@mcp.tool()
def stock(title: str) -> int:
    """How many copies of a book are left."""
    return {"Solaris": 1}.get(title, 0)


def new_app() -> Starlette:
    mcp_app = mcp.streamable_http_app(json_response=True, stateless_http=True)
    return Starlette(routes=[Mount("/shop", mcp_app)], lifespan=lifespan_of(mcp_app))


app = new_app()
