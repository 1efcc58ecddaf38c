"""Runs a server of a `tf.data` service, which prepares images on other machines.

    python -m alexnet_tf.serve_data --port=5000
    python -m alexnet_tf.serve_data --dispatcher=HOST:5000
    python -m alexnet_tf.train --dataset=imagenet2012 --data_service=HOST:5000

The first command runs the dispatcher, of which there is one. The second runs a worker,
one on each machine that decodes images. The third trains on the images that the workers
prepare. Workers execute the code that they receive: only people who may run programs on
these machines may have access to the ports. All machines read the images from the same
path. The workers share a data set by its files: there should be several files for each
worker.
"""

import socket
import threading

from alexnet_tf import cli
from alexnet_tf.data import data_service

FLAGS = [
    cli.integer_flag(
        "port", 0, "Port to listen on. Default: any free port.", lower_bound=0,
        upper_bound=65535,
    ),
    cli.string_flag(
        "dispatcher", None, "HOST:PORT of the dispatcher, for a worker."
    ),
    cli.string_flag(
        "address",
        None,
        "Name by which other machines reach this one. Default: its host name.",
    ),
]


def _serve(args):
    address = args.address or socket.gethostname()
    if args.dispatcher:
        server = data_service.worker(args.dispatcher, args.port, address)
        print(f"A worker of {args.dispatcher}.", flush=True)
    else:
        server = data_service.dispatcher(args.port)
        port = server.target.rpartition(":")[2]
        print(f"The dispatcher, at {address}:{port}.", flush=True)
    # `server.join` ignores Ctrl-C, and the `join` of a thread does not.
    thread = threading.Thread(target=server.join, daemon=True)
    thread.start()
    thread.join()


def main(argv=None):
    """Runs the command with the arguments `argv`, see `cli.run`."""
    cli.run("alexnet_tf.serve_data", _serve, FLAGS, argv)


if __name__ == "__main__":
    main()
