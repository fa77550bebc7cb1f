import strawberry
from database import lifespan
from strawberry.asgi import GraphQL

from anylifespan import with_lifespan


@strawberry.type
class Query:
    greeting: str = "hello"


app = with_lifespan(GraphQL(strawberry.Schema(Query)), lifespan)
