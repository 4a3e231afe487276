"""Before all ranks have done their first step, one that is asked to stop ends, and with it all others.

It cannot wait for them to agree: they may compile for minutes, or wait for it in a collective. torchrun would end them
too, on its own machine; on others, and where a scheduler has started the ranks itself, nobody would for half an hour.
"""

import os
import threading
import time
import uuid
from contextlib import suppress
from datetime import timedelta

import torch.distributed as dist

from recipe.machine.distributed import Ranks
from recipe.machine.signals import StopSignal

POLL_SECONDS = 0.2  # between two looks; well below LINGER
CONNECTING = timedelta(seconds=10)


def end_together(ranks: Ranks, stop: StopSignal) -> None:
    """Let this rank tell the others when it is asked to stop and must not wait, and look for their word in a thread.

    As long as `stop.heeds_others`. Every rank calls it.
    """
    if ranks.world_size == 1:
        return
    word = ranks.on_first(lambda: f"stopped before its first step/{uuid.uuid4().hex}")  # of this attempt alone
    try:  # a connection of its own: the main thread may wait in the other one
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = dist.TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=CONNECTING)
    except RuntimeError:  # then each rank needs a signal of its own
        return

    def look() -> None:
        with suppress(RuntimeError):  # whoever kept the store has ended
            while stop.heeds_others:
                if store.check([word]) and stop.heeds_others:
                    stop.end_too()
                    return
                time.sleep(POLL_SECONDS)

    def tell() -> None:
        stop.heeds_others = False  # the word is its own
        store.set(word, "")

    stop.tell_others = tell
    threading.Thread(target=look, name="stop notice", daemon=True).start()
