from database import lifespan
from fastapi import FastAPI

from anylifespan import lifespan_of

try:
    from mcp.server.mcpserver import MCPServer
except ImportError:  # mcp 1, which others of these applications may ask for
    from mcp.server.fastmcp import FastMCP as MCPServer  # type: ignore[no-redef]

tools = MCPServer("tools").streamable_http_app()
app = FastAPI(lifespan=lifespan_of(tools, lifespan=lifespan))
app.mount("/tools", tools)
