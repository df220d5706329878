"""A collector of traces: prints its address, and, when standard input ends, the spans that it was sent as a tree."""

import base64
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

exports = []


class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        export = ExportTraceServiceRequest()
        if self.headers["content-type"] == "application/x-protobuf":
            export.ParseFromString(body)
        else:
            fields = json.loads(body)
            # OTLP has ids in hexadecimal digits, where JSON of protobuf has base64.
            for span in fields["resourceSpans"][0]["scopeSpans"][0]["spans"]:
                for name in ("traceId", "spanId", "parentSpanId"):
                    span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
            json_format.ParseDict(fields, export)
        exports.append(export)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def shown(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return "|".join(shown(item) for item in value.array_value.values)
    return str(getattr(value, kind))


def print_tree(spans, parent, depth):
    children = [span for span in spans if span.parent_span_id == parent]
    for span in sorted(children, key=lambda span: (span.start_time_unix_nano, span.end_time_unix_nano)):
        kind = Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_")
        milliseconds = (span.end_time_unix_nano - span.start_time_unix_nano) // 1_000_000
        attributes = [f"{each.key}={shown(each.value)}" for each in span.attributes]
        if span.HasField("status"):
            attributes.append(f"{Status.StatusCode.Name(span.status.code)}: {span.status.message}")
        print("  " * depth + span.name, f"[{kind}, {milliseconds} ms]", *attributes)
        print_tree(spans, span.span_id, depth + 1)


server = HTTPServer(("127.0.0.1", 0), Collector)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(f"http://127.0.0.1:{server.server_port}", flush=True)
sys.stdin.read()
server.shutdown()
spans = [span for export in exports for spans in export.resource_spans for scope in spans.scope_spans for span in scope.spans]
ids = {span.span_id for span in spans}
assert len(ids) == len(spans), "every span has an id of its own"
(entry,) = [span for span in spans if span.parent_span_id not in ids]
resource = {each.key: shown(each.value) for each in exports[0].resource_spans[0].resource.attributes}
assert {span.trace_id for span in spans} == {entry.trace_id}, "one trace"
print(f"{resource['service.name']}, trace {entry.trace_id.hex()}, beneath {entry.parent_span_id.hex()}")
print_tree(spans, entry.parent_span_id, 0)
