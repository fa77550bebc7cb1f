from database import lifespan
from fastapi import FastAPI
from piccolo.columns import Varchar
from piccolo.engine.sqlite import SQLiteEngine
from piccolo.table import Table
from piccolo_admin.endpoints import create_admin


class Book(Table, db=SQLiteEngine()):
    title = Varchar()


app = FastAPI(lifespan=lifespan)
app.mount("/admin", create_admin([Book]))
