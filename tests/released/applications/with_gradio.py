import gradio
from database import lifespan
from fastapi import FastAPI

with gradio.Blocks() as blocks:
    gradio.Markdown("hello")
app = gradio.mount_gradio_app(FastAPI(lifespan=lifespan), blocks, path="/blocks")
