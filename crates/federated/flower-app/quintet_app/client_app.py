"""What the `flower_node` example does, in Python: pulls every parameter half-way to `target`. Rust nodes never load it; it
is there to compare them with."""
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    target = float(context.node_config.get("target", 1.0))
    (parameters,) = message.content["arrays"].to_numpy_ndarrays()
    moved = parameters + 0.5 * (target - parameters)
    content = {"arrays": ArrayRecord([moved.astype(parameters.dtype)]), "metrics": MetricRecord({"num-examples": 100})}
    return Message(RecordDict(content), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    (parameters,) = message.content["arrays"].to_numpy_ndarrays()
    content = {"metrics": MetricRecord({"num-examples": 1, "mean": float(parameters.mean())})}
    return Message(RecordDict(content), reply_to=message)
