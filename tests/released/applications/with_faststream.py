from database import connect
from faststream.asgi import AsgiFastStream
from faststream.nats import NatsBroker

app = AsgiFastStream(NatsBroker(), on_startup=[connect])
