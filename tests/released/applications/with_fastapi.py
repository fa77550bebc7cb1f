from database import lifespan
from fastapi import FastAPI

app = FastAPI(lifespan=lifespan)
