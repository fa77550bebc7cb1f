from database import lifespan
from fastapi import FastAPI
from fastmcp import FastMCP

from anylifespan import lifespan_of

tools = FastMCP("tools").http_app()
app = FastAPI(lifespan=lifespan_of(tools, lifespan=lifespan))
app.mount("/tools", tools)
