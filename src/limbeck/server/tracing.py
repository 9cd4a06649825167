"""A span for every request, sent to a collector of OpenTelemetry by its own library.

A span joins the trace that the request's `traceparent` names. It holds what the log holds: address,
status, model and version, and nothing of what was sent.
"""

from typing import Any

import limbeck
from limbeck.server.requests.http import Answer, Request

SERVICE = "limbeck"


class Tracing:
    """Sends spans, in batches, from a thread of its own.

    Args:
        endpoint: of a collector, such as `http://127.0.0.1:4318` (OTLP over HTTP).

    Raises:
        ModuleNotFoundError: OpenTelemetry is not installed.
    """

    def __init__(self, endpoint: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource = Resource.create(
            {"service.name": SERVICE, "service.version": limbeck.__version__}
        )
        self.provider = TracerProvider(resource=resource)
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        self.provider.add_span_processor(BatchSpanProcessor(exporter))
        self.tracer = self.provider.get_tracer(SERVICE)
        self.contexts = TraceContextTextMapPropagator()
        self.kind = SpanKind.SERVER

    def record(self, request: Request, answer: Answer, began_ns: int) -> None:
        """One request, from nanoseconds since 1970 until now."""
        # As OpenTelemetry's conventions for HTTP name them.
        attributes: dict[str, Any] = {
            "http.request.method": request.method,
            "url.path": request.path,
            "http.response.status_code": int(answer.status),
            "limbeck.request_id": request.id,
        }
        if request.model:
            attributes |= {"limbeck.model": request.model, "limbeck.version": request.version}
        context = self.contexts.extract({"traceparent": request.header("traceparent")})
        span = self.tracer.start_span(
            f"{request.method} {request.path}",
            context=context,
            kind=self.kind,
            attributes=attributes,
            start_time=began_ns,
        )
        span.end()

    def close(self) -> None:
        """Send what has not been sent yet."""
        self.provider.shutdown()
