"""Prints {message: {field: number}} of the messages of an installed flwr, as JSON."""
import importlib
import json

out = {}
for module in ("fleet", "message", "heartbeat", "node", "run", "error", "recorddict"):
    try:
        file = importlib.import_module(f"flwr.proto.{module}_pb2").DESCRIPTOR
    except ModuleNotFoundError:
        continue
    for name, message in file.message_types_by_name.items():
        out[name] = {field.name: field.number for field in message.fields}
print(json.dumps(out))
