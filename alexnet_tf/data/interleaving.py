"""The order in which `tf.data.Dataset.interleave` reads files, to begin in its middle.

A resumed run leaves out the files that it has read completely before.
"""

import numpy as np
import tensorflow as tf


def position_near(counts, position, *, cycle_length, block_length):
    """Finds a position from which only the rest of the files has to be read.

    Files are read as by `interleave`: `cycle_length` files are open, and the next
    `block_length` records are taken of each of them in turn. When a file has ended, the
    next one takes its place.

    Args:
        counts: the number of records in each file, in the order of the files.
        position: the largest number of records that may be left out.
        cycle_length, block_length: as for `interleave`.

    Returns:
        (skipped, rest): the number of records that are left out, at most `position`;
        and a list of (file, start), the index of a file and the number of its records
        that are left out. `interleave` reads this list in the same order as it reads
        all files after `skipped` records.
    """
    total = sum(counts)
    slots = [None] * cycle_length  # [file, number of records read] of the open files.
    next_file, num_read, turn = 0, 0, 0
    while True:
        if slots[turn] is None and next_file < len(counts):
            slots[turn] = [next_file, 0]
            next_file += 1
        # A file is left when its end is read, which is in the following turn if its
        # last block is full.
        count = 0
        if slots[turn] is not None:
            file, start = slots[turn]
            count = min(block_length, counts[file] - start)
        if num_read + count > position or num_read == total:
            break
        if slots[turn] is not None:
            slots[turn] = [file, start + count] if count == block_length else None
        num_read += count
        turn = (turn + 1) % cycle_length
    return num_read, _rest(slots, turn, next_file, len(counts))


def _rest(slots, turn, next_file, num_files):
    """Returns the open files from `turn` on, and the files that follow them.

    The files that follow take the place of files that have ended.
    """
    following = iter([(file, 0) for file in range(next_file, num_files)])
    rest = [
        tuple(slot) if slot is not None else next(following, None)
        for slot in (*slots[turn:], *slots[:turn])
    ]
    return [slot for slot in rest if slot is not None] + list(following)


def first_unread(num_examples, shuffle_buffer, seed, num_read):
    """Returns the first position, before shuffling, of the examples that are needed.

    Args:
        num_examples: the number of examples that are shuffled.
        shuffle_buffer, seed: the arguments of `tf.data.Dataset.shuffle`, which does not
            reshuffle each iteration.
        num_read: the number of examples, after shuffling, that are not needed because
            they have been read.
    """
    positions = tf.data.Dataset.range(num_examples).shuffle(
        shuffle_buffer, seed, reshuffle_each_iteration=False
    )
    needed = positions.skip(num_read).batch(2**20)
    return min((int(np.min(batch)) for batch in needed), default=num_examples)
