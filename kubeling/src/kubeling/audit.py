"""The audit ID of the request that is handled now: responses, log entries and errors contain it."""

from contextvars import ContextVar

audit_id: ContextVar[str] = ContextVar("kubeling_audit_id", default="")
