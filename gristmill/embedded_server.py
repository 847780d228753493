"""The server process of the embedded model: `python -m gristmill.embedded_server FOLDER`.

`gristmill.embedded` starts it and describes FOLDER; `gristmill serve` runs the same model in the foreground.

Eight slots decode together (continuous batching), each with a context of its own, so that no request can starve or
fail another: in a shared ("unified") cache one overflow ends every running request. The cache is 8-bit, which halves
its memory and costs a fifth of the speed of a 500-token prompt. Measured on two cores: ready in a second, 550 MB; one
thread gives 40 tokens/s to one stream and 75 to eight, two give 65 and 110. Prompts: 120 tokens/s and thread.
"""

import fcntl
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from gristmill.embedded import MODEL_NAME, RUNS_LOCK, START_LOCK, STATE, ServerState, model_path, try_lock
from gristmill.errors import ConfigError, GristmillError

SLOTS = 8
CONTEXT = 4096  # tokens per slot, prompt and answer together
MOST_THREADS = 4  # a model this small gains nothing from more
IDLE_LIMIT = 600.0  # seconds
_SPIN = 1000  # iterations


def create_server(port: int) -> Any:
    """A running `xllamacpp.Server` on 127.0.0.1; port 0 takes a free one. It stops when it is dropped."""
    # Threads wait for each other hundreds of times per token. By default they spin for milliseconds before they sleep,
    # which takes the very core that the late one needs: 3 tokens/s with two threads beside one busy process, not 30.
    os.environ.setdefault("GOMP_SPINCOUNT", str(_SPIN))
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model_path())
    params.model_alias = {MODEL_NAME}
    params.hostnames, params.port = ["127.0.0.1"], port
    params.n_parallel, params.n_ctx, params.kv_unified = SLOTS, SLOTS * CONTEXT, False
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_Q8_0
    params.cache_ram_mib, params.cache_idle_slots = (
        0,
        False,
    )  # each slot reuses its last prompt's prefix; no more than that
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = thread_count()
    params.fit_params = params.ui = params.endpoint_slots = False
    params.endpoint_metrics = True  # `activity` reads them
    params.cors_origins = "http://127.0.0.1"  # web pages have no business here
    params.verbosity = 2  # warnings and errors
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise GristmillError(f"llama.cpp's server did not start: {error}") from None


def thread_count() -> int:
    """GRISTMILL_EMBEDDED_THREADS, or as many threads as there are idle cores now."""
    chosen = os.environ.get("GRISTMILL_EMBEDDED_THREADS")
    if chosen:
        return max(1, round(_positive("GRISTMILL_EMBEDDED_THREADS", chosen)))
    idle_cores = core_count() - os.getloadavg()[0]
    return max(1, min(MOST_THREADS, round(idle_cores)))


def core_count() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main(folder: Path) -> None:
    """Claims `folder`, goes to the background, serves until nobody needs it, and gives the memory back."""
    idle_limit = _positive("GRISTMILL_EMBEDDED_IDLE", os.environ.get("GRISTMILL_EMBEDDED_IDLE") or str(IDLE_LIMIT))
    claim = os.open(folder / STATE, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(claim, fcntl.LOCK_EX)
    if os.fork():
        os._exit(0)
    os.setsid()
    server = create_server(port=0)
    port = int(server.listening_address.rpartition(":")[2])
    state = ServerState(os.getpid(), port, time.time())
    os.write(claim, json.dumps(state._asdict()).encode())
    _serve(server, folder, claim, idle_limit)


def _serve(server: Any, folder: Path, claim: int, idle_limit: float) -> None:
    """Returns when the server is idle and unused, or was replaced."""
    last_use, last_decodes = time.monotonic(), 0
    while True:
        time.sleep(min(5.0, idle_limit / 4))
        busy, decodes = activity(server)
        if busy or decodes != last_decodes:
            last_use, last_decodes = time.monotonic(), decodes
            continue
        is_idle = time.monotonic() - last_use >= idle_limit
        if _replaced(folder, claim) or (is_idle and _withdrawn(folder)):
            return


def activity(server: Any) -> tuple[bool, int]:
    """Whether requests are being served, and how many decoding steps there have been."""
    lines = str(server.handle_metrics()).splitlines()
    metrics = dict(line.split(" ", 1) for line in lines if line.startswith("llamacpp:"))
    waiting = float(metrics["llamacpp:requests_processing"]) + float(metrics["llamacpp:requests_deferred"])
    return waiting > 0, int(float(metrics["llamacpp:n_decode_total"]))


def _replaced(folder: Path, claim: int) -> bool:
    try:
        return (folder / STATE).stat().st_ino != os.fstat(claim).st_ino
    except FileNotFoundError:
        return True


def _withdrawn(folder: Path) -> bool:
    """Takes back the state file, unless a process uses the server or is asking for it at this moment."""
    with (folder / START_LOCK).open("a") as start, (folder / RUNS_LOCK).open("a") as runs:
        if not (try_lock(start.fileno(), fcntl.LOCK_EX) and try_lock(runs.fileno(), fcntl.LOCK_EX)):
            return False
        (folder / STATE).unlink(missing_ok=True)
        return True


def _positive(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ConfigError(f"{name} is {text!r}; a number above 0 is expected.")
    return value


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except GristmillError as error:
        sys.exit(str(error))
