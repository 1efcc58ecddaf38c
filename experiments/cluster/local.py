"""Starts several workers of one run on this machine, to try out distributed training.

    python -m experiments.cluster.local 2 --dataset=textures

The first argument is the number of workers; the others are flags of alexnet_tf.train.
The output of the chief appears in this terminal, the output of worker N is written to
worker-N.log in the current folder.
"""

import json
import os
import socket
import subprocess
import sys


def start(count, args, outputs):
    """Starts the workers and returns [subprocess.Popen, ...], the chief first.

    Args:
        count: the number of workers.
        args: flags of alexnet_tf.train.
        outputs: one open file per worker for its stdout and stderr, or None for
            this terminal.
    """
    addresses = [f"localhost:{port}" for port in _free_ports(count)]
    command = [sys.executable, "-m", "alexnet_tf.train", "--strategy=multi_worker"]
    return [
        subprocess.Popen(
            [*command, *args],
            env=os.environ | {"TF_CONFIG": config(addresses, index)},
            stdout=outputs[index], stderr=outputs[index],
        )
        for index in range(count)
    ]


def config(addresses, index):
    """Returns the value of TF_CONFIG for one worker.

    Args:
        addresses: ["HOST:PORT", ...] of all workers.
        index: which of them this one is.
    """
    return json.dumps(
        {
            "cluster": {"worker": addresses},
            "task": {"type": "worker", "index": index},
        }
    )


def _free_ports(count):
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def main(count, *args):
    logs = [open(f"worker-{i}.log", "wb") for i in range(1, int(count))]
    processes = start(int(count), args, [None, *logs])
    sys.exit(max(process.wait() for process in processes))


if __name__ == "__main__":
    if len(sys.argv) < 2 or not sys.argv[1].isdecimal():
        sys.exit(
            "Expected the number of workers as the first argument. Usage: "
            + __doc__.splitlines()[2].strip()
        )
    main(*sys.argv[1:])
