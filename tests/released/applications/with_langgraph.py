from database import lifespan
from fastapi import FastAPI
from langgraph.graph import START, StateGraph

graph = StateGraph(dict)
graph.add_node("greet", lambda state: {"greeting": "hello"})
graph.add_edge(START, "greet")
compiled = graph.compile()
app = FastAPI(lifespan=lifespan)


@app.get("/")
def greet():
    return compiled.invoke({})  # its ainvoke() needs asyncio
