import taskiq_fastapi
from database import lifespan
from fastapi import FastAPI
from taskiq import InMemoryBroker

app = FastAPI(lifespan=lifespan)
taskiq_fastapi.init(InMemoryBroker(), "with_taskiq:app")
