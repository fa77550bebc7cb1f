"""Fills the tables of docs/server-behaviour.md from runs: ``nox -s servers``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version

from load import SLOW, STREAMS, WEBSOCKETS
from released_servers import BY_ITSELF, DROP_IN, MIDDLEWARE, PROJECT
from scenarios import CALM, OF_WORKERS, PATIENCE, SCENARIOS, STORM, Record, play, shutdowns
from ways import DROP_INS, SERVERS, SUPERVISED, UNDER, Way, ways_of

from anylifespan.conformance import _application

PAGE = PROJECT / "docs" / "server-behaviour.md"
BEGIN, END = "<!-- filled by nox -s servers -->\n", "<!-- to here -->\n"
UNDER_WAY = f"{SLOW} slow requests, {STREAMS} streams and {WEBSOCKETS} WebSockets"
TITLES = {MIDDLEWARE: "with `LifespanMiddleware`"}


def ended(record: Record) -> str:
    if not record.ended:
        return f"still waits after {PATIENCE:g} s"
    seconds = record.seen["seconds"]
    after = "at once" if seconds < 0.9 else f"after {seconds:.0f} s"
    return f"ends {after}, status {record.seen['status']}"


def runs_its_shutdown(record: Record) -> bool:
    return record.sent("lifespan.shutdown.complete")


def says_where(record: Record) -> str:
    where = re.search(r"line \d+, in hangs_in_", record.output)
    return ", says where" if where else ", says nothing of where"


def state(record: Record) -> str:
    first, second = (record.noted("request", path=path)[0] for path in ("/first", "/second"))
    if "object" not in (first["state"] or ()):
        return "there is none"
    leaks = "of /first" in second["state"]
    return "seen, and leaks from request to request" if leaks else "seen, each request has its own"


def variables(record: Record) -> str:
    return "seen" if all(note["variable"] for note in record.noted("request")) else "not seen"


def shutdown(record: Record) -> str:
    run = "the shutdown is run" if runs_its_shutdown(record) else "no shutdown is run"
    return f"{run}; {ended(record)}"


def no_start(record: Record) -> str:
    if record.came_up:
        return "the lifespan is not run, and requests are served"
    if len(record.lifespans) > 1:
        return "requests are answered with 503, the next one tries again"
    return ended(record)


def hang(record: Record) -> str:
    return no_start(record) + (says_where(record) if record.lifespans else "")


def interrupted(record: Record) -> str:
    if not record.lifespans:
        return "the lifespan is not run"
    return ended(record) if record.ended else "ignores it"


def crash(record: Record) -> str:
    starts = len(record.lifespans)
    if not starts:
        return "the lifespan is not run"
    logged = "" if _application.CRASH in record.output else ", and logs nothing"
    if starts > 1:
        return f"another worker takes its place{logged}"
    return f"{ended(record)}{logged}" if record.ended else f"serves on{logged}"


def hanging_shutdown(record: Record) -> str:
    if not record.lifespans:
        return "the lifespan is not run"
    return ended(record) + says_where(record)


def blocked(record: Record) -> str:
    if not record.lifespans:
        return "the lifespan is not run"
    if len(record.lifespans) > 1:
        return "the worker is killed, and started again and again"
    if "blocks the event loop" in record.output:
        return "says where"
    late = "more than its limit" in record.output
    return "says that it took too long, not where" if late else "says nothing"


def with_requests(record: Record) -> str:
    run = "" if runs_its_shutdown(record) else ", no shutdown is run"
    return f"{ended(record)}{run}"


def stream(record: Record) -> str:
    how = ", broken off" if "broken" in record.seen else ", ended"
    return f"{with_requests(record)}{how if record.ended else ''}"


def websocket(record: Record) -> str:
    if "closed with" not in record.seen:
        return "it has none"
    return f"{with_requests(record)}, closed with {record.seen['closed with'] or 'no code'}"


def slow(record: Record) -> str:
    answered = record.answers.get("/slow") == 200
    return f"{with_requests(record)}, {'answered' if answered else 'broken off'}"


def in_flight(record: Record) -> str:
    lost = [
        f"{what} ({count})"
        for what, count in sorted(record.seen["load"].items())
        if what.endswith(("broken off", "left open")) or what == "slow request: not answered"
    ]
    return f"but for {', '.join(lost)}" if lost else "all answered, or ended properly"


def under_load(record: Record) -> str:
    if record.broken_off:
        return "it has none"
    if not record.ended:
        still_open = [one for one in sorted(record.seen["load"]) if one.endswith("left open")]
        kinds = " and ".join(f"{what.partition(':')[0]}s" for what in still_open)
        return f"still runs after {PATIENCE:g} s, with all {kinds} open"
    return in_flight(record)


ROWS = [
    ("SIGTERM", "behaves well", shutdown),
    ("the state", "behaves well", state),
    ("context variables of the lifespan", "behaves well", variables),
    ("a startup that hangs", "hangs in startup", hang),
    ("SIGINT meanwhile", "is interrupted in startup", interrupted),
    ("SIGTERM in it, without a limit", "is terminated in startup", interrupted),
    ("a startup that blocks the event loop", "blocks in startup", blocked),
    ("`startup.failed`", "fails to start", no_start),
    ("the lifespan dies while serving", "crashes", crash),
    ("SIGTERM and a shutdown that hangs", "hangs in shutdown", hanging_shutdown),
    ("SIGTERM with a stream open", "stops with a stream", stream),
    ("with a WebSocket", "stops with a WebSocket", websocket),
    ("with a request of 1 s", "stops with a slow request", slow),
    (f"with {UNDER_WAY}", "stops under load", under_load),
    ("a crash with the same", "crashes under load", under_load),
]


def replaced(record: Record, as_often: str = "is replaced") -> str:
    more = len(record.lifespans) - 2
    if more:
        return as_often.format(more)
    return f"the server ends, status {record.seen['status']}"


def supervised(records: dict[str, dict[str, Record]]) -> list[str]:
    again = f"if one crashes every {CALM:g} s"
    lines = [
        "## Two workers",
        "",
        f"| | a worker that crashes | its requests | {again} | a stop |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, way in SUPERVISED.items():
        how = TITLES[MIDDLEWARE] if way.target == UNDER[MIDDLEWARE] else "the drop-in"
        stop, crash, storm = (records[name][scenario] for scenario in OF_WORKERS)
        both = shutdowns(stop) == 2
        cells = [
            replaced(crash),
            in_flight(crash),
            replaced(storm, f"{{}} more in {STORM:g} s"),
            "every worker runs its shutdown" if both else "not every worker runs its shutdown",
        ]
        lines.append(f"| `{name}`, {how} | {' | '.join(cells)} |")
    return [*lines, ""]


def table(name: str, ways: dict[str, dict[str, Record]]) -> list[str]:
    lines = [f"## {name}", "", f"| | {' | '.join(ways)} |", "| --- |" + " --- |" * len(ways)]
    for title, scenario, cell in ROWS:
        cells = [cell(records[scenario]) for records in ways.values()]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return [*lines, ""]


def finished(futures: dict[str, Future[Record]]) -> dict[str, Record]:
    return {scenario: future.result() for scenario, future in futures.items()}


def main() -> None:
    with ThreadPoolExecutor(4) as pool:

        def start(way: Way, scenarios: Iterable[str]) -> dict[str, Future[Record]]:
            return {one: pool.submit(play, way.server, way.target, one) for one in scenarios}

        under_way: dict[str, dict[str, dict[str, Future[Record]]]] = {}
        for name in [*SERVERS, *sorted(DROP_INS.keys() - SERVERS.keys())]:
            ways = ways_of(name)
            if name in SERVERS:
                under_way[name] = {
                    TITLES.get(way, way): start(ways[way], SCENARIOS)
                    for way in (BY_ITSELF, MIDDLEWARE, DROP_IN)
                    if way in ways
                }
            else:
                under_way[f"examples/{name}"] = {"as it is": start(ways[DROP_IN], SCENARIOS)}
        under_supervisors = {name: start(way, OF_WORKERS) for name, way in SUPERVISED.items()}
        lines: list[str] = []
        for name, futures in under_way.items():
            records = {way: finished(of) for way, of in futures.items()}
            lines += table(name, records)
            print("\n".join(table(name, records)))
        lines += supervised({name: finished(of) for name, of in under_supervisors.items()})
    packages = sorted({server.package for server in SERVERS.values()})
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    text = "\n".join([f"As run with {versions}.", "", *lines])
    PAGE.write_text(before + BEGIN + text + END + after)


if __name__ == "__main__":
    main()
