"""Where things are kept: state (Redis or Valkey), analytics (ClickHouse or DuckDB).

One code path per kind: the embedded default speaks the same protocol, and answers the same
queries, as the server that replaces it.
"""
