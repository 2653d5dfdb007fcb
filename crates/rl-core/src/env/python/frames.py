# Frames over standard input and output: u32 header length, u32 body length (little-endian), a JSON header, a raw body.
# The script that follows this text uses Channel; what environments print goes to standard error.
import json
import os
import signal
import struct
import sys

PROTOCOL = 1


class Channel:
    def __init__(self):
        self.source = os.fdopen(os.dup(0), "rb")
        self.sink = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = sys.stderr
        # The parent decides when to stop; it closes our input.
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def receive(self):
        lengths = self.source.read(8)
        if len(lengths) < 8:
            sys.exit(0)
        header, body = struct.unpack("<II", lengths)
        return json.loads(self.source.read(header)), self.source.read(body)

    def send(self, header, body=b""):
        text = json.dumps(header, allow_nan=False).encode()
        self.sink.write(struct.pack("<II", len(text), len(body)) + text + body)
        self.sink.flush()

    def fail(self, message):
        self.send({"error": " ".join(str(message).split())})
        sys.exit(1)
