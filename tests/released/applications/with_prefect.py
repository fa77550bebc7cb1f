from database import lifespan
from fastapi import FastAPI
from prefect.server.api.server import create_app

from anylifespan import lifespan_of

server = create_app(ephemeral=True)
app = FastAPI(lifespan=lifespan_of(server, lifespan=lifespan))
app.mount("/prefect", server)
