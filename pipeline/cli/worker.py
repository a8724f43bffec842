"""`nextbest worker`: one worker in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.options import Bootstrap, DataDir, log_to_standard_error, private, settings_with

WorkerPort = Annotated[
    int | None,
    typer.Option("--port", min=0, max=65535, help="Port of /metrics and /readyz (NEXTBEST_WORKER_PORT); 0: any."),
]


def worker(bootstrap: Bootstrap = None, data_dir: DataDir = None, port: WorkerPort = None) -> None:
    """Run one worker.

    Workers share the load of one NEXTBEST_APP_ID between them; each needs a data directory of its own.
    """
    settings = settings_with(bootstrap=bootstrap, data_dir=data_dir, worker_port=port)
    private(settings)
    log_to_standard_error(settings)
    from pipeline.cli.cluster import reachable
    from pipeline.runtime import faust_app

    reachable(settings)
    faust_app.run(settings)
