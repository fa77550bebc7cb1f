"""Fills the tables of docs/servers.md from runs: ``nox -s servers``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version

from load import SLOW, STREAMS, WEBSOCKETS
from processes import DROP_INS, PROJECT, SERVERS, SUPERVISED, Server
from scenarios import PATIENCE, SCENARIOS, STORM, Record, play

PAGE = PROJECT / "docs" / "servers.md"
BEGIN, END = "<!-- filled by nox -s servers -->\n", "<!-- to here -->\n"
SUPERVISED_SCENARIOS = ("crashes under load", "crashes again and again", "stops with a stream")
GREETED = "from the lifespan"
UNDER_WAY = f"{SLOW} slow requests, {STREAMS} streams and {WEBSOCKETS} WebSockets"


def ended(record: Record) -> str:
    if record.status is None:
        return f"still waits after {PATIENCE:g} s"
    after = "at once" if record.seconds < 0.9 else f"after {record.seconds:.0f} s"
    return f"ends {after}, status {record.status}"


def says_where(record: Record) -> str:
    where = re.search(r'application\.py", line \d+, in lifespan', record.output)
    return ", says where" if where else ", says nothing of where"


def state(record: Record) -> str:
    states = [seen["state"] for _, seen in record.responses]
    if not any("database" in one for one in states):
        return "there is none"
    leaks = any("of another request" in one for one in states)
    return "seen, and leaks from request to request" if leaks else "seen, each request has its own"


def variables(record: Record) -> str:
    greeted = all(seen["greeting"] == GREETED for _, seen in record.responses)
    return "seen" if greeted else "not seen"


def shutdown(record: Record) -> str:
    run = "the shutdown is run" if "app: stopped" in record.output else "no shutdown is run"
    return f"{run}; {ended(record)}"


def no_start(record: Record) -> str:
    statuses = {status for status, _ in record.responses}
    if 200 in statuses:
        return "the lifespan is not run, and requests are served"
    if statuses:
        return "requests are answered with 503, the next one tries again"
    return ended(record)


def hang(record: Record) -> str:
    told = "" if "not run" in no_start(record) else says_where(record)
    return no_start(record) + told


def interrupted(record: Record) -> str:
    if "app: starting" not in record.output:
        return "the lifespan is not run"
    return "ignores it" if record.status is None else ended(record)


def crash(record: Record) -> str:
    starts = record.output.count("app: starting")
    if not starts:
        return "the lifespan is not run"
    logged = "" if "lost the database" in record.output else ", and logs nothing"
    if starts > 1:
        return f"another worker takes its place{logged}"
    return f"serves on{logged}" if record.status is None else f"{ended(record)}{logged}"


def hanging_shutdown(record: Record) -> str:
    if "app: starting" not in record.output:
        return "the lifespan is not run"
    return ended(record) + says_where(record)


def blocked(record: Record) -> str:
    if "app: starting" not in record.output:
        return "the lifespan is not run"
    if record.broken_off:
        return "the worker is killed, and started again and again"
    if "blocks the event loop" in record.output:
        return "says where"
    late = "more than its limit" in record.output
    return "says that it took too long, not where" if late else "says nothing"


def with_requests(record: Record) -> str:
    if record.broken_off:
        return "it has none"
    run = "" if "app: stopped" in record.output else ", no shutdown is run"
    return f"{ended(record)}{run}"


def stream(record: Record) -> str:
    broken = "" if record.status is None else ", ended" if not record.broken else ", broken off"
    return f"{with_requests(record)}{broken}"


def websocket(record: Record) -> str:
    if record.websocket is None:
        return "it has none"
    return f"{with_requests(record)}, closed with {record.closed_with or 'no code'}"


def slow(record: Record) -> str:
    answered = any(status == 200 for status, _ in record.responses)
    return f"{with_requests(record)}, {'answered' if answered else 'broken off'}"


def in_flight(record: Record) -> str:
    lost = [
        f"{what} ({count})"
        for what, count in sorted(record.load.items())
        if what.endswith(("broken off", "left open")) or what == "slow request: not answered"
    ]
    return f"but for {', '.join(lost)}" if lost else "all answered, or ended properly"


def under_load(record: Record) -> str:
    if not record.load:
        return "it has none"
    if record.status is None:
        still_open = [what for what in sorted(record.load) if what.endswith("left open")]
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
    ("with a request of 0.6 s", "stops with a slow request", slow),
    (f"with {UNDER_WAY}", "stops under load", under_load),
    ("a crash with the same", "crashes under load", under_load),
]


def replaced(record: Record, workers: int, as_often: str = "is replaced") -> str:
    more = record.output.count("app: starting") - workers
    return as_often.format(more) if more else f"the server ends, status {record.status}"


def supervised(records: dict[str, dict[str, Record]]) -> list[str]:
    lines = [
        "### Several workers",
        "",
        "| | a worker that crashes | its requests | if each crashes after 0.5 s | a stop |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, (server, app) in SUPERVISED.items():
        way = "with `LifespanMiddleware`" if app == "app" else "the drop-in"
        crash, again, stop = (records[name][scenario] for scenario in SUPERVISED_SCENARIOS)
        both = stop.output.count("app: stopped") == server.workers
        cells = [
            replaced(crash, server.workers),
            in_flight(crash),
            replaced(again, server.workers, f"{{}} more in {STORM:g} s"),
            "every worker runs its shutdown" if both else "not every worker runs its shutdown",
        ]
        lines.append(f"| `{name}`, {way} | {' | '.join(cells)} |")
    return [*lines, ""]


def table(name: str, ways: dict[str, dict[str, Record]]) -> list[str]:
    lines = [f"### {name}", "", f"| | {' | '.join(ways)} |", "| --- |" + " --- |" * len(ways)]
    for title, scenario, cell in ROWS:
        cells = [cell(records[scenario]) for records in ways.values()]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return [*lines, ""]


def finished(futures: dict[str, Future[Record]]) -> dict[str, Record]:
    return {scenario: future.result() for scenario, future in futures.items()}


def main() -> None:
    tiny = {f"examples/{name}": one for name, one in DROP_INS.items() if name not in SERVERS}
    with ThreadPoolExecutor(4) as pool:

        def start(
            server: Server, app: str, scenarios: Iterable[str] = SCENARIOS
        ) -> dict[str, Future[Record]]:
            return {
                scenario: pool.submit(play, server, f"application:{app}", scenario)
                for scenario in scenarios
            }

        under_way = {
            name: {
                "by itself": start(server, "bare"),
                "with `LifespanMiddleware`": start(server, "app"),
                **({"by the drop-in": start(DROP_INS[name], "bare")} if name in DROP_INS else {}),
            }
            for name, server in SERVERS.items()
        }
        under_way |= {name: {"as it is": start(server, "bare")} for name, server in tiny.items()}
        under_supervisors = {
            name: start(server, app, SUPERVISED_SCENARIOS)
            for name, (server, app) in SUPERVISED.items()
        }
        lines: list[str] = []
        for name, ways in under_way.items():
            records = {way: finished(futures) for way, futures in ways.items()}
            lines += table(name, records)
            print("\n".join(table(name, records)))
        lines += supervised(
            {name: finished(futures) for name, futures in under_supervisors.items()}
        )
    packages = sorted({server.package for server in SERVERS.values()})
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    text = "\n".join([f"As run with {versions}.", "", *lines])
    PAGE.write_text(before + BEGIN + text + END + after)


if __name__ == "__main__":
    main()
