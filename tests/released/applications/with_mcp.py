from database import lifespan
from fastapi import FastAPI
from mcp.server.mcpserver import MCPServer

from anylifespan import lifespan_of

tools = MCPServer("tools").streamable_http_app()
app = FastAPI(lifespan=lifespan_of(tools, lifespan=lifespan))
app.mount("/tools", tools)
