"""Several workers of one run on this machine, to try out what many will do.

    python -m experiments.cluster.local 2 --dataset=textures

The first number is that of the workers, the rest are flags of alexnet_tf.train. What
the chief says appears here, what worker N says in worker-N.log.
"""

import json
import os
import socket
import subprocess
import sys


def start(count, args, outputs):
    """[subprocess.Popen, ...], the chief first.

    Args:
        count: of workers.
        args: flags of alexnet_tf.train.
        outputs: for each a file for all that it says, None for this terminal.
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
    """What TF_CONFIG is for one of the workers."""
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
        sys.exit("Expected the number of workers. " + __doc__.splitlines()[2].strip())
    main(*sys.argv[1:])
