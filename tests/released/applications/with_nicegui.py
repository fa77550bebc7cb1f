from database import connect
from fastapi import FastAPI
from nicegui import app as nicegui_app
from nicegui import ui

app = FastAPI()
nicegui_app.on_startup(connect)
ui.run_with(app)
