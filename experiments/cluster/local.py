"""Starts several workers of one run on this machine.

    python -m experiments.cluster.local 2 --dataset=textures --workdir=runs/two-workers

This is for trying out distributed training without a cluster. The first argument is
the number of workers; the others are flags of alexnet_tf.train. The output of the first
worker, the chief, appears in this terminal. The outputs of the other workers are
written to worker-1.log, worker-2.log and so on in the current folder.
"""

import json
import os
import socket
import subprocess
import sys


def start(num_workers, train_flags, outputs):
    """Starts the workers and returns [subprocess.Popen, ...], the chief first.

    Args:
        num_workers: the number of workers.
        train_flags: flags of alexnet_tf.train.
        outputs: for each worker an open file for its stdout and stderr, or None to
            print them in this terminal.
    """
    addresses = [f"localhost:{port}" for port in free_ports(num_workers)]
    command = [sys.executable, "-m", "alexnet_tf.train", "--strategy=multi_worker"]
    return [
        subprocess.Popen(
            [*command, *train_flags],
            env=os.environ | {"TF_CONFIG": config(addresses, index)},
            stdout=outputs[index], stderr=outputs[index],
        )
        for index in range(num_workers)
    ]


def config(addresses, index):
    """Returns the value of TF_CONFIG for one worker.

    Args:
        addresses: ["HOST:PORT", ...] of all workers.
        index: the index of the worker's address.
    """
    return json.dumps(
        {
            "cluster": {"worker": addresses},
            "task": {"type": "worker", "index": index},
        }
    )


def free_ports(count):
    """Returns `count` different ports of this machine that are free."""
    # All ports are opened before one is closed, so that no port is returned twice.
    servers = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def main(argv):
    if len(argv) < 2 or not argv[1].isdecimal() or int(argv[1]) < 1:
        usage = __doc__.splitlines()[2].strip()
        sys.exit(
            f"Expected the number of workers as the first argument. Usage: {usage}"
        )
    num_workers = int(argv[1])
    logs = [open(f"worker-{index}.log", "wb") for index in range(1, num_workers)]
    processes = start(num_workers, argv[2:], [None, *logs])
    sys.exit(max(process.wait() for process in processes))


if __name__ == "__main__":
    main(sys.argv)
