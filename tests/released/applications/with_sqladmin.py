from database import lifespan
from fastapi import FastAPI
from sqladmin import Admin
from sqlalchemy import create_engine

app = FastAPI(lifespan=lifespan)
Admin(app, create_engine("sqlite://"))
