"""Prometheus metrics: what they are called, what they count, and how they are rendered."""

from collections.abc import Callable, Mapping, Sequence

from aioprometheus.collectors import Counter, Gauge, Histogram, Registry
from aioprometheus.renderer import render

from chatserver.models import MessageType, Role
from chatserver.telemetry.counters import BufferedCounter, BufferedHistogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, float("inf"))
DELIVERY_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 2.0, float("inf"))
BATCH_SIZES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, float("inf"))


class Metrics:
    """The metrics of one node. Labels have few values: never an id, a name or an address."""

    def __init__(self) -> None:
        self._registry = Registry()
        self._collect: list[Callable[[], None]] = []
        self._buffered: list[BufferedCounter | BufferedHistogram] = []
        counter, level, histogram = self._counter, self._level, self._histogram
        gauge = self._gauge
        self._sockets = level(
            "websocket_connections_total", "Open Socket.IO connections, by user_role", "user_role"
        )
        self._sent = counter(
            "chat_messages_sent_total", "Messages stored, by message_type", "message_type"
        )
        self._delivery = histogram(
            "chat_message_delivery_seconds",
            "From a message's created_at to its hand-over to the sockets of this node",
            DELIVERY_SECONDS,
        )
        self._errors = counter(
            "websocket_errors_total", "Socket.IO faults and refusals, by error_type", "error_type"
        )
        self._send = histogram(
            "chat_send_seconds",
            "From a send's arrival to its acknowledgement, by transport",
            SECONDS,
            "transport",
        )
        self._commit = histogram(
            "chat_commit_seconds", "How long one group commit of messages took", SECONDS
        )
        self._commit_failures = counter(
            "chat_commit_failures_total",
            "Sends whose commit failed, by reason: unavailable, locked or refused",
            "reason",
        )
        self._batch = histogram(
            "chat_commit_batch_size", "Messages in one group commit", BATCH_SIZES
        )
        self._events = counter(
            "chat_events_total", "Client events, by event and result", "event", "result"
        )
        self._requests = histogram(
            "http_request_seconds",
            "REST requests, by method, route and status",
            SECONDS,
            *("method", "route", "status"),
        )
        self._default_partition = gauge(
            "chat_default_partition_in_use", "1 when messages lie in no monthly partition"
        )
        self._pool_size = gauge("chat_database_pool_size", "Connections for requests")
        self._pool_used = gauge("chat_database_pool_used", "Of these, in use now")
        self._engines = level(
            "chat_engineio_connections", "Open Engine.IO connections, by transport", "transport"
        )
        self._closed = counter(
            "chat_engineio_closed_total", "Closed Engine.IO connections, by reason", "reason"
        )
        self._ready = gauge("chat_ready", "1 while a part that the node needs is there, by check")
        self._draining = gauge("chat_draining", "1 once the node is about to end")
        self._lag = histogram(
            "chat_event_loop_lag_seconds", "How late the event loop was for a timer", SECONDS
        )
        self._resync_hints = counter(
            "chat_resync_hints_total",
            "Conversations whose participants were told to look whether they missed something",
        )
        self._unpublished = gauge("chat_publish_queue", "Events that wait to be sent to sockets")
        self._bus_up = gauge("chat_backplane_up", "1 while this node receives its own messages")
        self._bus_lost = Counter(
            "chat_backplane_lost_total",
            "How often this node ceased to receive through Redis",
            registry=self._registry,
        )
        self._bus_waiting = gauge(
            "chat_backplane_unconfirmed", "Messages to other nodes that Redis has not confirmed"
        )
        self._bus_dropped = Counter(
            "chat_backplane_dropped_total",
            "Messages to other nodes that waited for Redis for too long",
            registry=self._registry,
        )
        self._bus_nodes = gauge("chat_backplane_nodes", "Other nodes that this node receives from")
        self._bus_published = Counter(
            "chat_backplane_published_total",
            "Messages that were published to other nodes",
            registry=self._registry,
        )
        self._bus_received = Counter(
            "chat_backplane_received_total",
            "Messages that came from Redis, by source: own, other, repeated, invalid, external"
            " (of these, not_obeyed), or refused: unsigned, forged, stale, unknown_key",
            registry=self._registry,
        )
        self._bus_disordered = Counter(
            "chat_backplane_disordered_total",
            "Times that another node's numbers had jumped ahead of what it said itself",
            registry=self._registry,
        )
        self._bus_signed = gauge(
            "chat_backplane_signatures_required", "1 once this node refuses what is not signed"
        )
        self._fallbacks = counter(
            "chat_rate_limit_fallback_total", "Sends that this node counted without Redis"
        )
        self._budget_refused = counter(
            "chat_budget_refused_total", "What a budget refused, by budget: user, address", "budget"
        )
        self._budget_half_spent = counter(
            "chat_budget_half_spent_total", "Budgets of which half was spent, by budget", "budget"
        )
        self._budget_closed = counter(
            "chat_budget_closed_total", "Sockets closed because they went on though refused"
        )
        self._budget_fallbacks = counter(
            "chat_budget_fallback_total", "Times that budgets could not be settled over Redis"
        )
        self._budget_uncounted = counter(
            "chat_budget_uncounted_total",
            "Requests of strangers behind a proxy that is not trusted: no address to count on",
        )
        self._budget_buckets = gauge(
            "chat_budget_buckets", "Users and addresses whose spending is in memory, by budget"
        )
        self._revocations = gauge("chat_revocations_known", "Revocations that the node holds")
        self._revocations_age = gauge(
            "chat_revocations_age_seconds", "Since the node last read what was revoked elsewhere"
        )
        # An alarm sees the first one of a kind only if there was a zero before.
        for reason in ("unavailable", "locked", "refused"):
            self.commit_failed(reason, 0)
        for kind in ("internal_error", "handler"):
            self._errors.add(kind, amount=0)
        self._define_connections()

    def _define_connections(self) -> None:
        self._connections = self._gauge("chat_connections", "Open TCP connections")
        self._most_connections = self._gauge("chat_connections_limit", "How many there may be")
        self._connections_refused = self._counter(
            "chat_connections_refused_total",
            "TCP connections beyond a limit, by reason: all or address",
            "reason",
        )
        self._not_read = self._counter(
            "chat_answers_not_read_total", "Connections closed since their answer was not taken"
        )
        self._files = self._gauge("chat_open_files", "Open file descriptors")
        self._most_files = self._gauge("chat_open_files_limit", "How many there may be")
        for limit in ("all", "address"):
            self._connections_refused.add(limit, amount=0)

    def connection_refused(self, reason: str) -> None:
        """`reason`: "all" or "address", the limit that was reached."""
        self._connections_refused.add(reason)

    def answer_not_read(self) -> None:
        self._not_read.add()

    def connections(self, count: int, most: int) -> None:
        self._connections.set({}, count)
        self._most_connections.set({}, most)

    def open_files(self, count: int, most: int) -> None:
        self._files.set({}, count)
        self._most_files.set({}, most)

    def bus_state(
        self,
        *,
        is_receiving: bool,
        lost: int,
        unconfirmed: int,
        dropped: int,
        others: int,
        published: int,
        received: Mapping[str, int],
        disordered: int,
        are_signatures_required: bool,
    ) -> None:
        self._bus_up.set({}, int(is_receiving))
        self._bus_lost.set({}, lost)
        self._bus_waiting.set({}, unconfirmed)
        self._bus_dropped.set({}, dropped)
        self._bus_nodes.set({}, others)
        self._bus_published.set({}, published)
        for source, count in received.items():
            self._bus_received.set({"source": source}, count)
        self._bus_disordered.set({}, disordered)
        self._bus_signed.set({}, int(are_signatures_required))

    def session_opened(self, role: Role) -> None:
        """A socket has proven who it is."""
        self._sockets.add(role.value)

    def session_closed(self, role: Role) -> None:
        self._sockets.add(role.value, amount=-1)

    def socket_opened(self, transport: str) -> None:
        """An Engine.IO connection has opened, nothing proven yet."""
        self._engines.add(transport)

    def socket_upgraded(self) -> None:
        self._engines.add("polling", amount=-1)
        self._engines.add("websocket")

    def socket_closed(self, transport: str, reason: str) -> None:
        self._engines.add(transport, amount=-1)
        self._closed.add(reason)

    def error(self, kind: str) -> None:
        """A fault or a refusal of a socket."""
        self._errors.add(kind)

    def message_sent(self, message_type: MessageType) -> None:
        self._sent.add(message_type.value)

    def message_delivered(self, seconds: float) -> None:
        self._delivery.observe(seconds)

    def send_answered(self, transport: str, seconds: float) -> None:
        self._send.observe(seconds, transport)

    def committed(self, size: int, seconds: float) -> None:
        self._batch.observe(size)
        self._commit.observe(seconds)

    def commit_failed(self, reason: str, count: int) -> None:
        """`reason` is "unavailable", "locked" or "refused"; of `count` messages."""
        self._commit_failures.add(reason, amount=count)

    def event_handled(self, event: str, result: str) -> None:
        """`result` is "ok" or the code of the error."""
        self._events.add(event, result)
        if result != "ok":
            self._errors.add(result)

    def request_handled(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.observe(seconds, method, route, str(status))

    def default_partition_in_use(self, is_in_use: bool) -> None:
        self._default_partition.set({}, int(is_in_use))

    def pool(self, size: int, used: int) -> None:
        self._pool_size.set({}, size)
        self._pool_used.set({}, used)

    def readiness(self, parts: Mapping[str, bool], *, is_draining: bool) -> None:
        """State of each part, as of the last check."""
        for part, is_good in parts.items():
            self._ready.set({"check": part}, int(is_good))
        self._draining.set({}, int(is_draining))

    def loop_lag(self, seconds: float) -> None:
        self._lag.observe(seconds)

    def resync_hint(self) -> None:
        self._resync_hints.add()

    def publish_queue(self, length: int) -> None:
        self._unpublished.set({}, length)

    def rate_limit_fallback(self) -> None:
        self._fallbacks.add()

    def budget_refused(self, budget: str) -> None:
        """`budget` is "user" or "address"."""
        self._budget_refused.add(budget)

    def budget_half_spent(self, budget: str) -> None:
        self._budget_half_spent.add(budget)

    def budget_closed(self) -> None:
        self._budget_closed.add()

    def budget_fallback(self) -> None:
        self._budget_fallbacks.add()

    def budget_uncounted(self) -> None:
        self._budget_uncounted.add()

    def budget_buckets(self, budget: str, count: int) -> None:
        self._budget_buckets.set({"budget": budget}, count)

    def revocations(self, known: int, age: float) -> None:
        """`age` is in seconds since they were last read."""
        self._revocations.set({}, known)
        self._revocations_age.set({}, age)

    def on_scrape(self, collect: Callable[[], None]) -> None:
        """Have `collect` set its gauges whenever the metrics are about to be read."""
        self._collect.append(collect)

    def render(self, accept: Sequence[str]) -> tuple[bytes, dict[str, str]]:
        """The metrics in the format that the Accept headers ask for, and its headers."""
        for collect in self._collect:
            collect()
        for counter in self._buffered:
            counter.show()
        content, headers = render(self._registry, list(accept))
        return content, dict(headers)

    def _counter(self, name: str, doc: str, *labels: str) -> BufferedCounter:
        return self._buffer(Counter(name, doc, registry=self._registry), *labels)

    def _level(self, name: str, doc: str, *labels: str) -> BufferedCounter:
        """A gauge that goes up and down by one."""
        return self._buffer(self._gauge(name, doc), *labels)

    def _buffer(self, collector: Counter | Gauge, *labels: str) -> BufferedCounter:
        counter = BufferedCounter(collector, *labels)
        self._buffered.append(counter)
        return counter

    def _gauge(self, name: str, doc: str) -> Gauge:
        return Gauge(name, doc, registry=self._registry)

    def _histogram(
        self, name: str, doc: str, buckets: Sequence[float], *labels: str
    ) -> BufferedHistogram:
        histogram = Histogram(name, doc, registry=self._registry, buckets=buckets)
        buffered = BufferedHistogram(histogram, *labels)
        self._buffered.append(buffered)
        return buffered
