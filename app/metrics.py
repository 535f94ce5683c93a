"""What a process counts about its work, for ``GET /metrics`` of API and worker; see ``docs/observability.md``."""

from prometheus_client import Counter, Gauge, Histogram

MOMENTS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)

OPERATIONS = Gauge(
    "vecloom_operations", "Operations by kind and state: unfinished ones, and those of the last day.", ["kind", "state"]
)
QUEUE_DEPTH = Gauge("vecloom_queue_depth", "Operations that are dispatched and that no worker has claimed yet.")
OLDEST_DUE = Gauge("vecloom_oldest_due_operation_seconds", "How long the oldest operation that may start waits.")
WORKERS_ALIVE = Gauge("vecloom_workers_alive", "Workers that renew their place.")
FIGURES_READ = Gauge("vecloom_figures_read_timestamp_seconds", "When the four gauges above were read from Postgres.")
ATTEMPTS = Counter("vecloom_attempts", "Attempts that ended, by kind and what became of them.", ["kind", "outcome"])
QUEUE_LATENCY = Histogram("vecloom_queue_latency_seconds", "From due to started.", ["kind"], buckets=MOMENTS)
SEARCHES = Counter("vecloom_searches", "Searches by what became of them.", ["outcome"])
SEARCH_LOG_DROPPED = Counter("vecloom_search_log_dropped", "Searches that were to be written down and were not.")
STAGE_SECONDS = Counter("vecloom_stage_seconds", "Busy seconds of each stage of ingestion.", ["stage"])
EMBEDDING_REQUESTS = Counter(
    "vecloom_embedding_requests",
    "Requests to a model by their outcome, `ok` or an error's code.",
    ["model", "outcome"],
)
EMBEDDING_LIMIT = Gauge("vecloom_embedding_limit", "How many requests a model is given at once now.", ["model"])
EMBEDDING_CACHE = Counter(
    "vecloom_embedding_cache_lookups", "Texts looked up among the vectors made before.", ["outcome"]
)
TOKENS = Counter("vecloom_tokens", "Tokens embedded.")
LANES = Gauge("vecloom_lanes", "Operations of other workers that this one shares now.")
WEBHOOK_ATTEMPTS = Counter("vecloom_webhook_attempts", "Attempts at deliveries by their outcome.", ["outcome"])
LEASES_LOST = Counter("vecloom_leases_lost", "Leases that this worker lost or gave up.")
RECONCILED = Counter("vecloom_reconciler_actions", "What the reconciler had to do.", ["action"])
WORKERS_DIED = Counter("vecloom_workers_died", "Workers that this one found dead by their lock.")
POOL_RESTARTS = Counter("vecloom_process_restarts", "Child processes that were replaced, by reason.", ["reason"])
LOOP_LAG = Histogram(
    "vecloom_event_loop_lag_seconds",
    "How late the event loop is.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5),
)
LOOP_BLOCKED = Counter("vecloom_event_loop_blocked", "How often the event loop stood still for long.")
SYNC_RUNS = Counter("vecloom_sync_runs", "Sync runs that ended, by what became of them.", ["trigger", "state"])
PERIODIC_ROUNDS = Counter(
    "vecloom_periodic_rounds", "Rounds of periodic jobs by their outcome, `ok` or an error's code.", ["job", "outcome"]
)
PERIODIC_SECONDS = Histogram("vecloom_periodic_round_seconds", "How long a round took.", ["job"], buckets=MOMENTS)
PERIODIC_SUCCESS = Gauge(
    "vecloom_periodic_last_success_timestamp_seconds", "When a periodic job was last done, by any worker.", ["job"]
)
PARTITIONS = Gauge("vecloom_chunk_partitions", "Partitions of the chunks that are not healthy, by status.", ["status"])
PARTITION_SKEW = Gauge("vecloom_chunk_partition_skew", "The largest skew of a partition that is not healthy, else 0.")
DEAD_CHUNKS = Gauge("vecloom_chunk_dead_rows", "Dead rows of all partitions of the chunks.")
