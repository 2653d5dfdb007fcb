"""Federated averaging over whatever nodes are connected, plain or through secure aggregation.

`initial` names a file with the parameters to start from (f32, little-endian; zeros of length `dim` without it), `result`
one that receives the nodes' mean return after each round and the parameters after the first. With `secure-sum` set to the path of the `secure_sum` example program, every round is one session of secure
aggregation: this app only carries bytes between the nodes and that program, and neither sees a single update.
"""
import json
import subprocess
import time

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


def poll_often(grid, timeout_seconds, interval=0.02):
    """The stock grid looks for replies every 3 s, at least 6 s per round; this one looks every 20 ms."""

    def exchange(messages, *, timeout=None):
        limit = timeout_seconds if timeout is None else min(timeout, timeout_seconds)
        deadline = time.monotonic() + limit
        waiting, replies = set(grid.push_messages(messages)), []
        while waiting and time.monotonic() < deadline:
            for reply in list(grid.pull_messages(waiting)):
                replies.append(reply)
                waiting.discard(reply.metadata.reply_to_message_id)
            time.sleep(interval)
        return replies

    grid.send_and_receive = exchange


def wait_for_nodes(grid, count):
    while len(list(grid.get_node_ids())) < count:
        time.sleep(0.2)
    return sorted(grid.get_node_ids())[:count]


def clients_of(grid, nodes):
    """Asks every node for its number in the directory."""
    messages = [Message(RecordDict({"config": ConfigRecord({"hello": True})}), dst_node_id=node, message_type=MessageType.QUERY)
                for node in nodes]
    return {int(reply.content["extra"]["client"]): reply.metadata.src_node_id
            for reply in grid.send_and_receive(messages) if reply.has_content()}


def secure_rounds(grid, program, directory, rounds, parameters, clients):
    """One session per round; nodes that do not answer have dropped out of it."""
    for number in range(rounds):
        server = subprocess.Popen([program, directory, str(parameters.size)], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        step = json.loads(server.stdout.readline())
        while "result" not in step:
            messages = []
            for client, data in step["to"].items():
                if int(client) not in clients:
                    continue
                records = {"config": ConfigRecord({"server-round": number, "session": bytes.fromhex(step["session"]),
                                                   "secagg": bytes.fromhex(data)})}
                if not data:
                    records["arrays"] = ArrayRecord([parameters])
                messages.append(Message(RecordDict(records), dst_node_id=clients[int(client)],
                                        message_type=MessageType.TRAIN))
            answers = {}
            for reply in grid.send_and_receive(messages):
                if reply.has_content():
                    extra = reply.content["extra"]
                    answers[str(extra["client"])] = extra["secagg"].hex()
            server.stdin.write(json.dumps(answers) + "\n")
            server.stdin.flush()
            line = server.stdout.readline()
            if not line:
                raise RuntimeError("the secure_sum program ended; see its message above")
            step = json.loads(line)
        parameters = np.asarray(step["result"], np.float32)
        print(f"round {number}: mean of total weight {step['weight']}; the server saw only the sum", flush=True)
    return parameters


def averaged_rounds(grid, count, rounds, parameters):
    """Stock FedAvg. Returns the last parameters, those after the first round, and the nodes' mean return per round."""
    strategy = FedAvg(fraction_train=1.0, fraction_evaluate=1.0, min_train_nodes=count, min_evaluate_nodes=count,
                      min_available_nodes=count)
    first, aggregate = [], strategy.aggregate_train

    def remember_the_first(server_round, replies):
        arrays, metrics = aggregate(server_round, replies)
        if arrays is not None and not first:
            first.extend(np.concatenate([a.ravel() for a in arrays.to_numpy_ndarrays()]).tolist())
        return arrays, metrics

    strategy.aggregate_train = remember_the_first
    result = strategy.start(grid=grid, initial_arrays=ArrayRecord([parameters]), num_rounds=rounds)
    (flat,) = result.arrays.to_numpy_ndarrays()
    measured = result.evaluate_metrics_clientapp
    return flat, first, [float(measured[r]["return"]) for r in sorted(measured) if "return" in measured[r]]


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    dim, count, rounds = int(config["dim"]), int(config["min-nodes"]), int(config["num-server-rounds"])
    poll_often(grid, float(config["round-timeout"]))
    initial = np.fromfile(config["initial"], "<f4") if config["initial"] else np.zeros(dim, np.float32)
    start = time.time()
    if config["secure-sum"]:
        clients = clients_of(grid, wait_for_nodes(grid, count))
        flat = secure_rounds(grid, config["secure-sum"], config["directory"], rounds, initial, clients)
    else:
        flat, first, returns = averaged_rounds(grid, count, rounds, initial)
        if config["result"]:
            with open(config["result"], "w") as file:
                file.write(json.dumps({"returns": returns, "first": first}) + "\n")
    print("FINAL", float(flat.min()), float(flat.max()), f"{time.time() - start:.1f} s", flush=True)
