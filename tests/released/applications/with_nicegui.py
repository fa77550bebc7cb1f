from database import lifespan
from fastapi import FastAPI
from nicegui import ui

# Its own on_startup() does not wait for what it starts.
app = FastAPI(lifespan=lifespan)
ui.run_with(app)
