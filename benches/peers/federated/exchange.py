"""Milliseconds of one exchange (a train or an evaluate message to two nodes, and their replies) through a real SuperLink on
loopback, with Rust nodes and with Flower's own, under the same server application."""
import os
import re
import signal
import socket
import subprocess
import tempfile
import time

APP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../crates/federated/flower-app")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(command, log, environment):
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True)


def stop(process):
    for sign, patience in ((signal.SIGINT, 5), (signal.SIGKILL, 5)):
        if process.poll() is None:
            os.killpg(process.pid, sign)
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                pass


def exchange(python, node, kind, rounds, patience=600):
    """`kind` is rust or python. Returns milliseconds per exchange."""
    bin_ = os.path.dirname(os.path.abspath(python))
    with tempfile.TemporaryDirectory() as home:
        environment = dict(os.environ, PATH=f"{bin_}:{os.environ['PATH']}", FLWR_HOME=home, FLWR_TELEMETRY_ENABLED="0",
                           FLWR_DISABLE_UPDATE_CHECK="1", UV_OFFLINE="1", PYTHONUNBUFFERED="1")
        address = f"127.0.0.1:{free_port()}"
        with open(f"{home}/config.toml", "w") as file:
            file.write(f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "{address}"\ninsecure = true\n')
        log = open(f"{home}/log", "w")
        processes = []
        try:
            link = [f"{bin_}/flower-superlink", "--insecure", "--disable-runtime-dependency-installation",
                    "--host", "127.0.0.1", "--port", address.split(":")[1]]
            processes.append(start(link, log, environment))
            deadline = time.time() + patience
            while True:
                try:
                    socket.create_connection(("127.0.0.1", int(address.split(":")[1]))).close()
                    break
                except OSError:
                    if time.time() > deadline:
                        raise
                    time.sleep(0.1)
            for target in (1, 3):
                if kind == "rust":
                    command = [node, address, "--target", str(target), "--examples", "100"]
                else:
                    command = [f"{bin_}/flower-supernode", "--insecure", "--superlink", address, "--port", str(free_port()),
                               "--node-config", f"target={float(target)}"]
                processes.append(start(command, log, environment))
            run_log = open(f"{home}/run.log", "w+")
            run = [f"{bin_}/flwr", "run", APP, "here", "--stream", "-c", f"num-server-rounds={rounds} dim=1000 min-nodes=2"]
            processes.append(start(run, run_log, environment))
            while time.time() < deadline:
                with open(f"{home}/run.log") as file:
                    found = re.search(r"FINAL (\S+) (\S+) (\S+) s", file.read())
                if found:
                    want = 2 * (1 - 0.5**rounds)
                    assert abs(float(found[1]) - want) < 1e-3, (found[0], want)
                    return float(found[3]) * 1e3 / (2 * rounds)
                time.sleep(0.1)
            log.flush()
            raise RuntimeError(f"no result from {kind} nodes after {patience} s:\n" + open(f"{home}/log").read()[-2000:])
        finally:
            for process in reversed(processes):
                stop(process)
